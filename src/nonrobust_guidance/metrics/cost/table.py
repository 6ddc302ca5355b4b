"""The table of what samples cost, measured method by method in rounds."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from nonrobust_guidance.devices import choose_device
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.files import write_atomically
from nonrobust_guidance.metrics.cells import middle_scale
from nonrobust_guidance.metrics.cost.passes import counting
from nonrobust_guidance.metrics.settings import Cost, Measured
from nonrobust_guidance.metrics.tables import COST
from nonrobust_guidance.models.classifiers import load_classifier
from nonrobust_guidance.models.diffusion import load_diffusion
from nonrobust_guidance.models.images import to_uint8
from nonrobust_guidance.records.cards import describe_device, weights_hash
from nonrobust_guidance.sampling.denoiser import Denoiser
from nonrobust_guidance.sampling.draw import drawing_of, fingerprint
from nonrobust_guidance.sampling.settings import Chain, Guided, Method, Rejected, acceptance_of
from nonrobust_guidance.schedule import Schedule

IMAGES = 64
"""The number of images that the table's seconds are for."""
LARGER = 4
"""Factor on the batch size where some images may have to be drawn again."""


@dataclass(frozen=True)
class Measurement:
    """One batch of one method; passes are in images.

    Attributes:
        seconds: from the first noise to the images.
        cpu_seconds: processor time of this process within them; less where others used the processor, or a GPU
            computed.
        unet_forward: through the diffusion model.
        unet_backward: back through it.
        classifier_forward: through the classifier.
        classifier_backward: back through it.
    """

    seconds: float
    cpu_seconds: float
    unet_forward: int
    unet_backward: int
    classifier_forward: int
    classifier_backward: int


def measure_cost(run: Measured, data_folder: Path, checkpoints: Path, output_csv: Path) -> None:
    """Draw a batch of every method in each of ``metrics.cost.rounds`` rounds, and write a table with a row per method.

    Every chain is drawn whole, toward the run's targets in turn, at the middle one of its scales (passes and time do
    not depend on the scale). Odd rounds go through the methods in reverse order. A finished measurement is kept in a
    file of its own beside the table until the table is written, so that a job that was killed loses only one.

    Columns: ``seconds`` for 64 images, the median over the rounds, with the least and the most; ``cpu_seconds``, also a
    median; network passes per image, counted by hooks, where one is the forward or the backward pass of one image;
    ``attempts``, the chains that were drawn per image: more than one in rejection, including those drawn ahead to fill
    a batch; and where it was measured.

    Raises:
        UserError: if the run has no ``metrics.cost``, or a checkpoint is missing or damaged.
    """
    if run.metrics.cost is None:
        raise UserError(f"the run {run.run} does not ask what samples cost; add metrics.cost to its file")
    where, settings, methods = choose_device(run.device), run.metrics.cost, run.sampling.methods
    unet, schedule = load_diffusion(checkpoints / run.diffusion.name, where)
    used = dict.fromkeys(method.classifier for method in methods.values() if method.classifier)
    classifiers = {name: load_classifier(checkpoints / name, where) for name in used}
    bench = Bench(run, settings, unet, schedule, classifiers)
    place = describe_device(where.type)
    asked = {"batch_size": settings.batch_size, "chain": run.sampling.part(Chain).recorded(), "place": place}
    asked |= {"methods": {name: method.recorded() for name, method in methods.items()}}
    weights = {name: weights_hash(checkpoints / name) for name in (run.diffusion.name, *used)}
    kept = Kept(output_csv.with_name(f".{output_csv.stem}.parts"), fingerprint(asked, weights))
    with tqdm(total=settings.rounds * len(methods), desc="cost", unit="batch") as bar:
        for number in range(settings.rounds):
            for name in list(methods)[:: -1 if number % 2 else 1]:
                if not kept.has(number, name):
                    bar.set_postfix_str(name)
                    kept.save(number, name, bench.measure(name, number))
                bar.update()
    rows = [
        {"method": name, "scale": middle_scale(method.drawn_scales), "steps": method.steps}
        | summary([kept.load(number, name) for number in range(settings.rounds)], method, batch_of(method, settings))
        | {"rounds": settings.rounds, "batch_size": batch_of(method, settings), "threads": place["threads"]}
        | {"device": place["kind"], "processor": place["name"]}
        for name, method in methods.items()
    ]
    table = pd.DataFrame(rows)[COST.columns]
    write_atomically(output_csv, lambda path: table.to_csv(path, index=False, float_format="%.6g"))
    kept.clear()


class Bench:
    """Where methods are timed: a run's networks, loaded once."""

    def __init__(
        self,
        run: Measured,
        settings: Cost,
        unet: Denoiser,
        schedule: Schedule,
        classifiers: Mapping[str, nn.Module],
    ) -> None:
        """Take the networks; nothing is timed yet."""
        self.run, self.settings, self.unet, self.schedule, self.classifiers = run, settings, unet, schedule, classifiers
        self.warm: set[str] = set()

    def measure(self, name: str, number: int) -> Measurement:
        """Draw a method's batch of a round; its first batch is preceded by two steps that are not timed."""
        sampling = self.run.sampling
        method, seed, chain = sampling.methods[name], sampling.seeds[0], sampling.part(Chain)
        size = batch_of(method, self.settings)
        classifier = self.classifiers[method.classifier] if method.classifier else None
        target = self.run.dataset.classes.index(sampling.targets[number % len(sampling.targets)])
        scale, batch = middle_scale(method.drawn_scales), range(number * size, (number + 1) * size)
        if name not in self.warm:
            # After two steps rejection would accept next to nothing, so only the chain inside it is warmed up.
            guide = None if isinstance(method, Rejected) else classifier
            once = method.model_copy(update={"reject": None}) if isinstance(method, Guided) else method
            for _ in drawing_of(once, scale, guide, target, self.unet, self.schedule.respaced(2), seed, chain)(batch):
                pass
            self.warm.add(name)
        schedule = method.levels_of(self.schedule)
        draw = drawing_of(method, scale, classifier, target, self.unet, schedule, seed, chain)
        network = self.unet if isinstance(self.unet, nn.Module) else None
        with counting(network) as drawn, counting(classifier) as asked:
            start, start_cpu = time.perf_counter(), time.process_time()
            for state in draw(batch):
                images = state
            to_uint8(images)  # this waits for the GPU
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
        return Measurement(seconds, cpu_seconds, drawn.forward, drawn.backward, asked.forward, asked.backward)


def batch_of(method: Method, settings: Cost) -> int:
    """Return how many images of a method are drawn together: more where some of them may have to be drawn again.

    Those images wait until they fill a microbatch, so a small batch needs more passes per image than a whole cell.
    """
    return settings.batch_size * (LARGER if acceptance_of(method) else 1)


def summary(measured: list[Measurement], method: Method, batch_size: int) -> dict[str, Any]:
    """Return the columns of a method's measurements, batches of ``batch_size`` images each."""
    seconds = np.array([one.seconds for one in measured]) * IMAGES / batch_size
    cpu_seconds = np.array([one.cpu_seconds for one in measured]) * IMAGES / batch_size
    passes = {
        what: sum(getattr(one, what) for one in measured) / (len(measured) * batch_size)
        for what in Measurement.__dataclass_fields__
        if not what.endswith("seconds")
    }
    attempts = passes["unet_forward"] / method.steps if acceptance_of(method) else 1
    return {
        "seconds": np.median(seconds),
        "seconds_least": seconds.min(),
        "seconds_most": seconds.max(),
        "cpu_seconds": np.median(cpu_seconds),
        "attempts": attempts,
    } | passes


class Kept:
    """Finished measurements of one origin (settings, weights and machine), a file each; any others are deleted."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Open the folder, and empty it if its files are of another origin."""
        self.folder = folder / origin[:16]
        if folder.exists() and not self.folder.exists():
            shutil.rmtree(folder)

    def path(self, number: int, name: str) -> Path:
        """Name the file of a method's batch in a round."""
        return self.folder / f"{number}-{name}.json"

    def has(self, number: int, name: str) -> bool:
        """Say whether it is measured."""
        return self.path(number, name).is_file()

    def save(self, number: int, name: str, measurement: Measurement) -> None:
        """Keep it."""
        text = json.dumps(asdict(measurement))
        write_atomically(self.path(number, name), lambda path: path.write_text(text, encoding="utf-8"))

    def load(self, number: int, name: str) -> Measurement:
        """Return what was kept."""
        return Measurement(**json.loads(self.path(number, name).read_text(encoding="utf-8")))

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
