"""Execute notebooks in place, recording nothing but their outputs: python notebooks/execute.py NOTEBOOK..."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

for name in sys.argv[1:]:
    print("executing", name, flush=True)
    notebook = nbformat.read(name, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    resources = {"metadata": {"path": str(Path(name).parent)}}
    NotebookClient(notebook, record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        if "outputs" in cell:  # what is logged is about the run
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, name)
