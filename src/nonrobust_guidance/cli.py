"""The command line: one command for each stage, a thin layer over functions that a notebook can call too."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nonrobust_guidance.config import load_config, sample_files
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.progress import progress_lines

# Every function imports its stage itself: torch takes seconds, and has to find its number of threads already set.


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
        except KeyboardInterrupt:
            return 130
        # Not within the except clause, whose traceback keeps progress bars open until its end.
        if mistake:
            print(f"error: {mistake}", file=sys.stderr)
    return 1 if mistake else 0


def limit_threads(threads: int) -> None:
    """Let this process, and those it starts, compute on that many threads; to be called before torch is imported."""
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def prepare_data(args: argparse.Namespace) -> None:
    """Write the dataset."""
    from nonrobust_guidance.data import prepare_data

    prepare_data(load_config(args.config, complete=False)["dataset"], args.output)


def train_diffusion(args: argparse.Namespace) -> None:
    """Train the diffusion model."""
    from nonrobust_guidance.models import train_diffusion

    train_diffusion(load_config(args.config, complete=False), args.data, args.output)


def train_classifier(args: argparse.Namespace) -> None:
    """Train one of the classifiers."""
    config = load_config(args.config, complete=False)
    _require_known(args, "name", config["classifiers"], "classifiers")
    from nonrobust_guidance.models import train_classifier

    train_classifier(config, args.name, args.data, args.output)


def draw_samples(args: argparse.Namespace) -> None:
    """Draw samples of one method at one scale with one seed, for every target."""
    config = load_config(args.config)
    _require_known(args, "method", config["sampling"]["methods"], "sampling.methods")
    from nonrobust_guidance.sampling.draw import draw_samples

    draw_samples(config, args.method, args.scale, args.seed, args.checkpoints, args.output)


def score_samples(args: argparse.Namespace) -> None:
    """Score all cells of a run."""
    from nonrobust_guidance.metrics.score import score_run

    score_run(load_config(args.config), args.data, args.checkpoints, args.samples, args.output)


def measure_noise_accuracy(args: argparse.Namespace) -> None:
    """Measure the classifiers' accuracy over the noise levels."""
    from nonrobust_guidance.metrics.noise_accuracy import measure_noise_accuracy

    measure_noise_accuracy(load_config(args.config), args.data, args.checkpoints, args.output)


def render_report(args: argparse.Namespace) -> None:
    """Run a notebook on the results and render it to one HTML file."""
    from nonrobust_guidance.report.render import render_report

    render_report(load_config(args.config), args.results, args.notebook, args.output)


def render_index(args: argparse.Namespace) -> None:
    """Render the page that links what a run produced."""
    from nonrobust_guidance.report.render import render_index

    render_index(load_config(args.config), args.results, args.output)


def check_config(args: argparse.Namespace) -> None:
    """Check a run's configuration and say what it asks for."""
    config = load_config(args.config)
    methods = config["sampling"]["methods"]
    files = len(sample_files(config))
    print(f"{args.config} is valid: run {config['run']} draws {files} files of samples with {len(methods)} methods")


def estimate_cost(args: argparse.Namespace) -> None:
    """Say what a run will cost before it starts: cells, samples, network passes, disk and hours."""
    config = load_config(args.config)
    import torch

    from nonrobust_guidance import cost

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.throughput:
        rates, origin = {cost.UNET: args.throughput}, "as given"
    else:
        rates, origin = cost.measure_throughput(config, device), f"measured on this machine's {device.type}"
    print(cost.format_cost(config, cost.estimate_cost(config), rates, origin))


def _require_known(args: argparse.Namespace, option: str, known: Sequence[str], section: str) -> None:
    name = getattr(args, option)
    if name not in known:
        raise UserError(f"--{option} {name} is not in {section} of {args.config}; use {' or '.join(known)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nonrobust-guidance", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(run: Callable[[argparse.Namespace], None], **options: type) -> None:
        command = commands.add_parser(run.__name__.replace("_", "-"), help=run.__doc__, description=run.__doc__)
        command.add_argument("--config", type=Path, required=True)
        for option, kind in options.items():
            command.add_argument(f"--{option}", type=kind, required=True)
        command.add_argument("--threads", type=_positive, help="threads to compute on; all by default")
        command.set_defaults(run=run)

    add(prepare_data, output=Path)
    add(train_diffusion, data=Path, output=Path)
    add(train_classifier, name=str, data=Path, output=Path)
    add(draw_samples, method=str, scale=float, seed=int, checkpoints=Path, output=Path)
    add(score_samples, data=Path, checkpoints=Path, samples=Path, output=Path)
    add(measure_noise_accuracy, data=Path, checkpoints=Path, output=Path)
    add(render_report, results=Path, notebook=Path, output=Path)
    add(render_index, results=Path, output=Path)
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
