"""The README shows the demo's pipeline as it is."""

import re

from .test_code_blocks import ROOT

PIPELINE = ROOT / "src" / "flock" / "cli" / "demo" / "pipeline.py"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_readme_shows_the_pipeline_of_the_demo_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert PIPELINE.read_text(encoding="utf-8") in BLOCK.findall(readme), (
        f"README.md differs from {PIPELINE.relative_to(ROOT)}: copy the file into its block"
    )


def test_the_pipeline_is_short_enough_to_be_read() -> None:
    assert len(PIPELINE.read_text(encoding="utf-8").splitlines()) < 60
