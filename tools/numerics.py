"""Measures the largest errors of all operations, records them in tests/ulp*.json, and prints docs/numerics.md tables.

python tools/numerics.py [--vae | --print]: with --vae it measures agauss.vae and MultivariateNormal alone, and with
--print nothing.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "numerics.md"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> None:
    import edges
    import measured
    import measured_vae

    if "--vae" in sys.argv[1:]:
        measured_vae.record()
    elif "--print" not in sys.argv[1:]:
        measured.record()
        measured_vae.record()
    text = PAGE.read_text()
    for name, table in (("edges", edges.table()), ("ulp", measured.table()), ("vae", measured_vae.table())):
        pattern = rf"(?s)(<!-- {name}: by tools/numerics.py -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(pattern, lambda found, table=table: found[1] + table + found[2], text)
        assert count == 1, f"docs/numerics.md has no place for {name}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
