"""The scenarios of performance.md, in its order; one module per group."""
