"""Running a notebook and turning it into a page that opens offline."""

from __future__ import annotations

import contextlib
import html
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import naming, write_atomically
from nonrobust_guidance.metrics.settings import Measured
from nonrobust_guidance.report.page import page_html
from nonrobust_guidance.yaml_files import write_yaml

CONFIG_FILE = "config.yaml"
INDEX = "index.html"


def render_page(run: Measured, results_folder: Path, notebook: Path, output_html: Path) -> None:
    """Run a notebook on a run's results and write it as one HTML page that needs no other file and no network.

    Beside the page lies the executed notebook, ``<page>.ipynb``. The results folder holds ``config.yaml``, the
    configuration as it was used; where it does not, it is written.

    Args:
        run: the run.
        results_folder: holds the tables and samples that the notebook reads, if it asks for the folder.
        notebook: a template with a cell tagged "parameters", in which ``results_folder`` and ``config_file`` are set.
        output_html: the page.

    Raises:
        UserError: if a table or the notebook is missing or invalid, or a cell fails; what ran is then kept.
    """
    asked = parameters_of(notebook)
    config_file, executed = results_folder / CONFIG_FILE, output_html.with_suffix(".ipynb")
    write_yaml(run.resolved(), config_file)
    parameters = {"results_folder": str(results_folder.resolve()), "config_file": str(config_file.resolve())}
    execute_notebook(notebook, executed, {name: value for name, value in parameters.items() if name in asked})
    title = f"{run.run}: {notebook.stem}"
    footer = (
        f'<a href="{INDEX}">All of this run</a>. '
        f'The code that made this page: <a href="{quote(executed.name)}">{html.escape(executed.name)}</a>.'
    )
    page = page_html(title, notebook_body(executed), footer)
    write_atomically(output_html, lambda path: path.write_text(page, encoding="utf-8"))


def execute_notebook(notebook: Path, output: Path, parameters: Mapping[str, str]) -> None:
    """Run a notebook with this very interpreter and write it, executed, atomically.

    Raises:
        UserError: if it is missing or not a notebook, or a cell fails; what ran is then kept as
            ``<output>.failed.ipynb``.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    failed = output.with_suffix(".failed.ipynb")
    with (
        tempfile.TemporaryDirectory() as scratch,
        naming(draft := Path(scratch) / output.name),
        this_interpreter_as_kernel(Path(scratch)),
    ):
        try:
            papermill.execute_notebook(
                str(notebook),
                str(draft),
                dict(parameters),
                kernel_name="python3",
                language="python",
                progress_bar=sys.stderr.isatty(),
            )
        except PapermillExecutionError as error:
            write_atomically(failed, lambda path: path.write_bytes(draft.read_bytes()))
            if error.ename == UserError.__name__:
                raise UserError(error.evalue) from error
            reason = " ".join(f"{error.ename}: {error.evalue}".split())
            raise UserError(
                f"cell {error.exec_count} of {notebook} failed ({reason}); what ran is kept in {failed}"
            ) from error
        write_atomically(output, lambda path: path.write_bytes(draft.read_bytes()))
    failed.unlink(missing_ok=True)


def parameters_of(notebook: Path) -> set[str]:
    """Return the names of the parameters that a notebook takes.

    Raises:
        UserError: if it is missing or no notebook.
    """
    import papermill

    require_notebook(notebook)
    return set(papermill.inspect_notebook(str(notebook)))


def require_notebook(path: Path) -> None:
    """Raise a UserError unless the file is a notebook of format 4."""
    import nbformat

    if not path.is_file():
        raise UserError(f"{path} is missing: give the notebook to run")
    try:
        nbformat.validate(json.loads(path.read_text(encoding="utf-8")), version=4)
    except (ValueError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise UserError(f"{path} is no notebook of format 4; give another") from error


@contextlib.contextmanager
def this_interpreter_as_kernel(folder: Path) -> Iterator[None]:
    """Make ``python3`` the name of a kernel of this interpreter, whatever the user's home folder contains."""
    kernel = folder / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=40"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    private = {name: str(folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    wanted = private | {"JUPYTER_PATH": str(folder), "JUPYTER_PLATFORM_DIRS": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def notebook_body(executed: Path) -> str:
    """Return an executed notebook's text and outputs as HTML, without its code."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        embed_images=True,
        mathjax_url="",
        require_js_url="",
    )
    body, _ = exporter.from_filename(str(executed))
    return body
