"""How much Flock itself costs, beside a floor measured in the same run.

``python -m benchmarks`` prints one table and writes ``bench.json``. Nothing here is part of
the installed package, and no test measures time.
"""
