"""The command line: one command for each stage, a thin layer over functions that a notebook can call too.

It is long because every command is here, for a reader looks one up by its name.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from nonrobust_guidance.config import Run, load_config, load_models, sample_files, write_config
from nonrobust_guidance.errors import UserError, printable
from nonrobust_guidance.files import refusal
from nonrobust_guidance.metrics.settings import Scoring
from nonrobust_guidance.metrics.tables import RESULT_FILES, ResultFile
from nonrobust_guidance.models.origins import (
    FetchedDiffusion,
    TrainedClassifier,
    TrainedDiffusion,
    fetched_models,
    trained_models,
)
from nonrobust_guidance.progress import progress_lines
from nonrobust_guidance.sampling.settings import Chain, cell_folder
from nonrobust_guidance.settings.files import failure_in_own_file

# A run is taken apart here, so that each function gets only the values that it uses, except for the functions of
# `measure_table`, which get the whole run. Every command imports its own stage: torch takes seconds to import, and its
# number of threads has to be set before.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for a mistake of the user's, 130 when interrupted."""
    parsed = _parser().parse_args(arguments)
    mistake = None
    with progress_lines():
        try:
            if parsed.threads is not None:
                limit_threads(parsed.threads)
            parsed.run(parsed)
        except UserError as error:
            mistake = str(error)
        except ModuleNotFoundError as error:
            mistake = failure_in_own_file(error) or _missing(error, parsed)
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            mistake = refusal(error) or failure_in_own_file(error)
            if mistake is None:
                raise
        # Not inside the except clause, because its traceback keeps progress bars open until it ends.
        if mistake and os.environ.get("RANK", "0") == "0":
            print(f"error: {printable(mistake)}", file=sys.stderr)
    return 1 if mistake else 0


def limit_threads(threads: int) -> None:
    """Let this process, and those it starts, compute on that many threads; to be called before torch is imported."""
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def prepare_data(args: argparse.Namespace) -> None:
    """Write the dataset."""
    from nonrobust_guidance.data import NEEDED, prepare_data

    prepare_data(load_models(args.config).dataset, args.output, NEEDED)


def train_diffusion(args: argparse.Namespace) -> None:
    """Train the diffusion model."""
    models = load_models(args.config)
    settings = trained_models(models).get(models.diffusion.name)
    if not isinstance(settings, TrainedDiffusion):
        raise UserError(f"{args.config} gives the diffusion model a source; fetch it with fetch-checkpoint")
    from nonrobust_guidance.devices import choose_device, count_processes, is_one_of_several, run_in_processes

    processes = count_processes(settings.training.processes, choose_device(models.device))
    if processes > 1 and not is_one_of_several():
        threads = max(1, (args.threads or os.cpu_count() or 1) // processes)
        arguments = ["train-diffusion", "--config", args.config, "--data", args.data, "--output", args.output]
        arguments += ["--replace"] if args.replace else []
        run_in_processes(processes, [*map(str, arguments), "--threads", str(threads)])
        return
    from nonrobust_guidance.models.diffusion import train_diffusion

    replace = _may_replace(args, settings.name)
    train_diffusion(settings, args.data, args.output, device=models.device, replace=replace)


def train_classifier(args: argparse.Namespace) -> None:
    """Train one of the classifiers."""
    models = load_models(args.config)
    _require_known(args, "name", models.classifiers, "classifiers")
    settings = trained_models(models).get(args.name)
    if not isinstance(settings, TrainedClassifier):
        raise UserError(f"{args.config} gives {args.name} a source; fetch it with fetch-checkpoint")
    from nonrobust_guidance.models.classifiers import train_classifier

    replace = _may_replace(args, args.name)
    train_classifier(settings, args.name, args.data, args.output, device=models.device, replace=replace)


def fetch_checkpoint(args: argparse.Namespace) -> None:
    """Fetch the published weights that take the place of a training."""
    models = load_models(args.config)
    _require_known(args, "name", [models.diffusion.name, *models.classifiers], "diffusion and classifiers")
    settings, size = fetched_models(models).get(args.name), models.dataset.image_size
    if settings is None:
        raise UserError(f"{args.config} gives {args.name} no source; train it, or add one in place of its training")
    from nonrobust_guidance.models.published import fetch_classifier, fetch_diffusion

    replace = _may_replace(args, args.name)
    if isinstance(settings, FetchedDiffusion):
        fetch_diffusion(settings, size, args.output, replace=replace)
    else:
        fetch_classifier(settings, args.name, models.dataset.classes, size, args.output, replace=replace)


def gather_cards(args: argparse.Namespace) -> None:
    """Put how each training ended into one file."""
    from nonrobust_guidance.records.cards import gather_cards

    gather_cards(trained_models(load_models(args.config)), args.checkpoints, args.output)


def draw_samples(args: argparse.Namespace) -> None:
    """Draw samples of one method at one scale with the seeds given, for every target; a shard of them, or all."""
    run = load_config(args.config)
    _require_known(args, "method", run.sampling.methods, "sampling.methods")
    from nonrobust_guidance.sampling.draw import draw_samples

    method, part = run.sampling.methods[args.method], f"{args.shard.start}-{args.shard.stop}" if args.shard else ""
    draw_samples(
        args.method,
        method,
        args.scale,
        {seed: args.output / cell_folder(args.method, args.scale, seed) / part for seed in args.seed},
        run.sampling.part(Chain),
        {target: run.dataset.classes.index(target) for target in run.sampling.targets},
        args.checkpoints / run.diffusion.name,
        args.checkpoints / method.classifier if method.classifier else None,
        args.shard,
        batch_size=run.sampling.batch_size,
        device=run.device,
    )


def merge_shards(args: argparse.Namespace) -> None:
    """Put the shards of a cell into one file of samples."""
    from nonrobust_guidance.records.cards import merge_cards
    from nonrobust_guidance.sampling.files import merge_shards

    merge_shards(args.shards, args.output)
    merge_cards(
        [shard.with_suffix(".json") for shard in args.shards], args.output.with_suffix(".json"), args.output.name
    )


def fetch_inception(args: argparse.Namespace) -> None:
    """Fetch the weights of an Inception network, and check them."""
    from nonrobust_guidance.metrics.distances.inception_weights import fetch_inception

    fetch_inception(args.extractor, args.output)


def measure_references(args: argparse.Namespace) -> None:
    """Measure the real images of a dataset in one feature space."""
    device = load_models(args.config).device
    from nonrobust_guidance.devices import choose_device
    from nonrobust_guidance.metrics.distances.references import measure_references

    measure_references(args.extractor, args.data, args.weights, args.rows, args.output, choose_device(device))


def score_samples(args: argparse.Namespace) -> None:
    """Score all cells of some methods, a table each."""
    run = load_config(args.config)
    from nonrobust_guidance.metrics.cells import guide_of, list_cells
    from nonrobust_guidance.metrics.score import score_method

    for name in args.method:
        _require_name(name, "method", run.sampling.methods, f"sampling.methods of {args.config}")
        cells = [cell for cell in list_cells(run) if cell.method.name == name]
        score_method(
            cells,
            run.metrics.part(Scoring),
            guide_of(cells[0], run),
            args.data,
            args.checkpoints,
            args.weights,
            args.samples,
            args.output / f"{name}.csv",
            names={"run": run.run, "dataset": run.dataset.name},
            device=run.device,
        )


def gather_scores(args: argparse.Namespace) -> None:
    """Put the scores of all methods into one table, and where each of its rows comes from into another."""
    from nonrobust_guidance.metrics.cells import list_cells
    from nonrobust_guidance.metrics.gather import gather_scores
    from nonrobust_guidance.metrics.provenance import gather_provenance

    run = load_config(args.config)
    gather_provenance(list_cells(run), args.scores, args.samples, args.provenance)
    gather_scores(run.sampling.methods, args.scores, args.output)


def select_candidates(args: argparse.Namespace) -> None:
    """Choose each method's candidate by the scores of the screening, and write the run that is left to confirm."""
    run = load_config(args.config)
    from nonrobust_guidance.metrics.selection import confirmed, select_candidates

    select_candidates(run, args.screened, args.output)
    write_config(confirmed(run, args.output), args.confirmed)


def measure_table(file: ResultFile) -> Callable[[argparse.Namespace], None]:
    """Return the command that makes a table with the function that the list of tables names."""

    def measure(args: argparse.Namespace) -> None:
        module, _, function = file.measured_by.partition(":")
        make = getattr(import_module(f"{__package__}.{module}"), function)
        make(load_config(args.config), args.data, args.checkpoints, args.output)

    measure.__name__, measure.__doc__ = f"measure_{Path(file.name).stem}", f"Measure {file.holds}."
    return measure


def measure_trajectories(args: argparse.Namespace) -> None:
    """Follow the gradients of one guided method along its sampling."""
    run = load_config(args.config)
    _require_known(args, "method", run.sampling.guided, "the guided sampling.methods")
    from nonrobust_guidance.metrics.gradients.trajectories import measure_trajectories

    method, target = run.sampling.guided[args.method], run.sampling.targets[0]
    measure_trajectories(
        args.method,
        method,
        run.sampling.part(Chain),
        run.sampling.seeds[0],
        target,
        run.dataset.classes.index(target),
        run.metrics.trajectories,
        run.metrics.bootstrap,
        args.checkpoints / run.diffusion.name,
        args.checkpoints / method.classifier,
        args.output,
        batch_size=run.sampling.batch_size,
        device=run.device,
    )


def gather_trajectories(args: argparse.Namespace) -> None:
    """Put the methods' tables of trajectories into one."""
    from nonrobust_guidance.metrics.gather import gather_trajectories

    gather_trajectories(load_config(args.config).sampling.guided, args.parts, args.output)


def measure_signatures(args: argparse.Namespace) -> None:
    """Measure the signatures of failing guidance: colours, lost features, and position, size and rotation."""
    from nonrobust_guidance.metrics.signatures.table import measure_signatures

    run = load_config(args.config)
    measure_signatures(
        run,
        run.metrics.judge,
        run.metrics.signatures,
        run.metrics.bootstrap,
        args.data,
        args.checkpoints,
        args.samples,
        args.output,
        args.factors,
        device=run.device,
    )


def compare_methods(args: argparse.Namespace) -> None:
    """Compare every pair of methods, each at its chosen scale, sample by sample."""
    from nonrobust_guidance.metrics.comparisons.table import compare_methods

    run = load_config(args.config)
    compare_methods(run, args.data, args.checkpoints, args.weights, args.samples, args.metrics, args.output)


def decide_claims(args: argparse.Namespace) -> None:
    """Decide the paper's claims from a run's tables, all of them together."""
    from nonrobust_guidance.report.claims.tables import write_claims

    write_claims(load_config(args.config), args.results, args.output)


def measure_ground_truth(args: argparse.Namespace) -> None:
    """Run every method on mixtures of Gaussians, where the right answer is known."""
    from nonrobust_guidance.metrics.ground_truth.table import measure_ground_truth

    measure_ground_truth(load_config(args.config).report.ground_truth, args.output, args.arrays)


def render_page(args: argparse.Namespace) -> None:
    """Run a notebook on the results and render it to one HTML file."""
    from nonrobust_guidance.report.render import render_page

    render_page(load_config(args.config), args.results, args.notebook, args.output)


def render_index(args: argparse.Namespace) -> None:
    """Render the page that links what a run produced."""
    from nonrobust_guidance.report.pages.index import render_index

    render_index(load_config(args.config), args.results, args.output)


def restore_checkpoints(args: argparse.Namespace) -> None:
    """Bring the published checkpoints that are missing, in the place of training."""
    from nonrobust_guidance.audit.restore import restore_checkpoints

    restore_checkpoints(load_config(args.config))


def check_publishable(args: argparse.Namespace) -> None:
    """Check that a run's checkpoints are what their cards say, and were made by committed code."""
    from nonrobust_guidance.audit.restore import require_publishable

    require_publishable(load_config(args.config))


def record_results(args: argparse.Namespace) -> None:
    """Copy a run's tables to where git and DVC hold them."""
    from nonrobust_guidance.audit.record import record_results

    record_results(args.results, args.output)


def audit(args: argparse.Namespace) -> None:
    """Compare a run's files and numbers with the published ones, and add the page about it to the report."""
    run = load_config(args.config)
    from nonrobust_guidance.audit.check import audit
    from nonrobust_guidance.audit.record import FOLDER

    audit(run, Path("results", run.run), FOLDER / run.run)


def trace(args: argparse.Namespace) -> None:
    """Say where a row of the metrics comes from, and how to make just it again; with --remake, make it."""
    run = _confirmed(load_config(args.config))
    _require_known(args, "method", run.sampling.methods, "sampling.methods")
    from nonrobust_guidance.audit.trace import find_cell, remake, trace

    cell, results = find_cell(run, args.method, args.scale, args.target, args.seed), Path("results", run.run)
    print("\n".join(trace(run, args.config, cell, results)))
    if args.remake:
        print("\n".join(remake(args.config, cell, results)))


def trace_claim(args: argparse.Namespace) -> None:
    """Say what a verdict on one of the paper's claims rests on, and how to trace each cell behind it."""
    from nonrobust_guidance.audit.trace_claim import trace_claim

    run = load_config(args.config)
    print("\n".join(trace_claim(run, args.config, args.claim, args.target, Path("results", run.run))))


def check_config(args: argparse.Namespace) -> None:
    """Check a run's configuration and say what it asks for."""
    run = load_config(args.config)
    methods, files = len(run.sampling.methods), len(sample_files(run))
    print(f"{args.config} is valid: run {run.run} draws {files} files of samples with {methods} methods")


def export_schema(args: argparse.Namespace) -> None:
    """Write the JSON Schema of run files, for editors."""
    from nonrobust_guidance.config.schema import export_schema

    export_schema(args.output)


def estimate_cost(args: argparse.Namespace) -> None:
    """Say what a run will cost before it starts: cells, samples, network passes, disk and hours."""
    run = load_config(args.config)
    from nonrobust_guidance import cost
    from nonrobust_guidance.devices import choose_device

    device = choose_device(run.device)
    if args.throughput:
        rates, origin = {cost.UNET: args.throughput}, "as given"
    else:
        rates, origin = cost.measure_throughput(run, device), f"measured on this machine's {device.type}"
    print(cost.format_cost(run.run, cost.estimate_cost(run), rates, origin))


def _confirmed(run: Run) -> Run:
    """Return the run that the results belong to, which a screening may have narrowed down."""
    from nonrobust_guidance.metrics.selection import confirmed
    from nonrobust_guidance.metrics.tables import SELECTION

    return confirmed(run, Path("results", run.run, SELECTION.name))


def _may_replace(args: argparse.Namespace, name: str) -> bool:
    """Return whether the user allows a model's training to be replaced; Snakemake passes that in the environment."""
    from nonrobust_guidance.records.trainings import REPLACE_VARIABLE

    return args.replace or name in os.environ.get(REPLACE_VARIABLE, "").split()


def _missing(error: ModuleNotFoundError, args: argparse.Namespace) -> str:
    """Say what to install if a library is missing; a missing module of this package is not the user's mistake."""
    library = str(error.name).partition(".")[0]
    if library == __package__:
        raise error
    return f"{args.command} needs {library}, which is not installed: pip install 'nonrobust-guidance[{args.extra}]'"


def _require_known(args: argparse.Namespace, option: str, known: Collection[str], section: str) -> None:
    _require_name(getattr(args, option), option, known, f"{section} of {args.config}")


def _require_name(name: str, option: str, known: Collection[str], where: str) -> None:
    if name not in known:
        raise UserError(f"--{option} {name} is not in {where}; use {' or '.join(known)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nonrobust-guidance", description=__doc__)
    # Extras that the command needs beyond the core.
    parser.set_defaults(extra="workflow")
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")

    def add(
        run: Callable[[argparse.Namespace], None], *, of_run: bool = True, **options: Callable[[str], Any]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(run.__name__.replace("_", "-"), help=run.__doc__, description=run.__doc__)
        if of_run:
            command.add_argument("--config", type=Path, required=True)
        for option, kind in options.items():
            command.add_argument(f"--{option}", type=kind, required=True)
        command.add_argument("--threads", type=_positive, help="threads to compute on; all by default")
        command.set_defaults(run=run)
        return command

    add(prepare_data, output=Path)
    for command in (
        add(train_diffusion, data=Path, output=Path),
        add(train_classifier, name=str, data=Path, output=Path),
        add(fetch_checkpoint, name=str, output=Path),
    ):
        command.add_argument("--replace", action="store_true", help="replace the training that the output folder holds")
    add(gather_cards, checkpoints=Path, output=Path)
    draw = add(draw_samples, method=str, scale=float, checkpoints=Path, output=Path)
    draw.add_argument("--seed", type=int, nargs="+", required=True)
    draw.add_argument("--shard", type=_indices, metavar="START-STOP", help="samples START to STOP - 1; all by default")
    add(merge_shards, of_run=False, output=Path).add_argument("shards", type=Path, nargs="+", help="in order")
    add(export_schema, of_run=False, output=Path)
    add(fetch_inception, of_run=False, extractor=str, output=Path)
    add(measure_references, extractor=str, data=Path, weights=Path, rows=_positive, output=Path)
    scoring = add(score_samples, data=Path, checkpoints=Path, weights=Path, samples=Path, output=Path)
    scoring.add_argument("--method", nargs="+", required=True)
    add(gather_scores, scores=Path, samples=Path, output=Path, provenance=Path)
    add(select_candidates, screened=Path, output=Path, confirmed=Path)
    for file in RESULT_FILES:
        if file.measured_by:
            add(measure_table(file), data=Path, checkpoints=Path, output=Path)
    add(measure_trajectories, method=str, checkpoints=Path, output=Path)
    add(gather_trajectories, parts=Path, output=Path)
    add(measure_signatures, data=Path, checkpoints=Path, samples=Path, output=Path, factors=Path)
    add(compare_methods, data=Path, checkpoints=Path, weights=Path, samples=Path, metrics=Path, output=Path)
    add(decide_claims, results=Path, output=Path)
    add(measure_ground_truth, output=Path, arrays=Path)
    add(render_page, results=Path, notebook=Path, output=Path).set_defaults(extra="report")
    add(render_index, results=Path, output=Path).set_defaults(extra="report")
    add(restore_checkpoints)
    add(check_publishable)
    add(record_results, of_run=False, results=Path, output=Path)
    add(audit).set_defaults(extra="report")
    tracing = add(trace, method=str, scale=float, target=str, seed=int)
    tracing.add_argument("--remake", action="store_true", help="make the row again and compare")
    tracing.set_defaults(extra="report")
    add(trace_claim, claim=_positive, target=str).set_defaults(extra="report")
    estimate = commands.add_parser("estimate-cost", help=estimate_cost.__doc__, description=estimate_cost.__doc__)
    estimate.add_argument("config", type=Path)
    estimate.add_argument(
        "--throughput", type=_rate, help="images a second forward through the U-Net; measured if absent"
    )
    estimate.add_argument("--threads", type=_positive, help="threads to compute on; all by default")
    estimate.set_defaults(run=estimate_cost)
    check = commands.add_parser("check-config", help=check_config.__doc__, description=check_config.__doc__)
    check.add_argument("config", type=Path)
    check.set_defaults(run=check_config, threads=None)
    return parser


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def _indices(text: str) -> range:
    start, stop = map(int, text.split("-"))
    if not 0 <= start < stop:
        raise ValueError
    return range(start, stop)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
