"""Write the note as a web page and as a PDF: `make note`.

    python docs/note/build.py [FOLDER]

pandoc (in the wheel pypandoc-binary) reads note.md; typst sets the PDF. Nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

NOTE = Path(__file__).with_name("note.md")
COMMON = ["--standalone", "--toc", "--number-sections"]
PAGE = ["-V", "papersize=a4", "-V", "fontsize=10pt"]


def build(folder: Path) -> list[Path]:
    """Write note.html and note.pdf into the folder; returns both."""
    try:
        import pypandoc
        import typst
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is missing: pip install 'expo-analysis[note]', or make note") from None
    folder.mkdir(parents=True, exist_ok=True)
    page, source, paper = (folder / f"note.{kind}" for kind in ("html", "typ", "pdf"))
    pypandoc.convert_file(str(NOTE), "html", outputfile=str(page), extra_args=[*COMMON, "--mathml"])
    pypandoc.convert_file(str(NOTE), "typst", outputfile=str(source), extra_args=[*COMMON, *PAGE])
    typst.compile(str(source), output=str(paper))
    source.unlink()
    return [page, paper]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTE.parent):
        print(f"wrote {path}")
