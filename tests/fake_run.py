"""A run that never was: its tables written from numbers that a test chooses, for the pages and claims made of them."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from nonrobust_guidance.config import Run, parse_config
from nonrobust_guidance.metrics.cells import Cell, list_cells
from nonrobust_guidance.metrics.statistics.intervals import Interval, wilson_interval
from nonrobust_guidance.metrics.statistics.paired import Pairs, share_difference, share_difference_statistic
from nonrobust_guidance.metrics.statistics.several import p_value
from nonrobust_guidance.metrics.tables import ALL_TARGETS
from nonrobust_guidance.report.results import Results

PARTS = {"dataset": "classes", "sampling": "targets"}
"""The sections that hold names of classes, and under which keys."""
Cells = Mapping[str, Sequence[tuple[int, float]]]
"""For each method, scale by scale, how many of 64 samples (unguided: of 128) are right, and the distance."""


class FakeRun:
    """A run that never was: its results written as the other stages would, from numbers that a test chooses."""

    N = 64
    REAL = 0.3
    DIVERSITY = 0.6
    METHODS: ClassVar[dict[str, Any]] = {
        "free": {"classifier": None, "num_samples": 128},
        "strong_xt": {"classifier": "strong", "at": "xt", "scales": [1, 10], "stabilizer": []},
        "weak_xt": {"classifier": "weak", "at": "xt", "scales": [10], "stabilizer": []},
        "weak_x0": {"classifier": "weak", "at": "x0", "scales": [3], "stabilizer": []},
        "weak_ema": {
            "classifier": "weak",
            "at": "x0",
            "scales": [10, 30],
            "stabilizer": [{"name": "ema", "beta": 0.9}],
        },
        "weak_adam": {"classifier": "weak", "at": "x0", "scales": [0.1], "stabilizer": [{"name": "adam"}]},
    }
    PAPER: ClassVar[Cells] = {
        "free": [(32, 9.0)],
        "strong_xt": [(50, 4.0), (64, 2.0)],
        "weak_xt": [(3, 60.0)],
        "weak_x0": [(62, 5.0)],
        "weak_ema": [(62, 3.5), (60, 9.0)],
        "weak_adam": [(63, 2.2)],
    }
    NOISE: ClassVar = {
        ("strong", "xt"): (490, 480, 130),
        ("weak", "xt"): (500, 130, 125),
        ("weak", "x0"): (500, 450, 140),
    }

    @classmethod
    def config(
        cls, targets: Sequence[str] = ("cup", "ball"), methods: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        training = {"steps": 10, "batch_size": 4, "seed": 1, "learning_rate": 0.001}
        dataset = {"name": "toys", "kind": "folder", "root": "toys", "classes": ["cup", "ball", "pen", "hat"]}
        architectures = {"strong": "resnet18", "weak": "resnet18", "judge": "judge_cnn"}
        return {
            "run": "toy",
            "dataset": dataset,
            "diffusion": {
                "name": "unet",
                "schedule": {"num_steps": 400, "beta_start": 0.0001, "beta_end": 0.05},
                "unet": {"block_out_channels": [32, 64], "norm_num_groups": 8},
                "training": training,
            },
            "classifiers": {
                name: {"architecture": architecture, "noised": name == "strong", "training": training}
                for name, architecture in architectures.items()
            },
            "sampling": {
                "sampler": "ddpm",
                "steps": 50,
                "num_samples": cls.N,
                "seeds": [0],
                "targets": list(targets),
                "methods": dict(methods or cls.METHODS),
            },
            "metrics": {"judge": "judge", "extractors": ["judge"], "bootstrap": {"resamples": 9, "seed": 0}},
        }

    @classmethod
    def run(cls, config: dict[str, Any] | Run | None = None, **options: Any) -> Run:
        """Return the run that a configuration describes; left out, `config` of the options."""
        if isinstance(config, Run):
            return config
        return parse_config(cls.config(**options) if config is None else config, "fake.yaml")

    @classmethod
    def named(cls, run: Run, markup: str) -> Run:
        """Return the run with a second class of a name that no run file may have; a page escapes it all the same."""
        dataset = run.dataset.model_copy(update={"classes": ("cup", markup)})
        sampling = run.sampling.model_copy(update={"targets": ("cup", markup)})
        return run.model_copy(update={"dataset": dataset, "sampling": sampling})

    @staticmethod
    def renaming(notebook: Path, folder: Path, markup: str) -> Path:
        """Return a copy of a notebook that names the run's second class like that once it has read the run file."""
        content, read = notebook.read_text(), "run = load_config(Path(config_file))"
        update = {
            name: f"run.{name}.model_copy(update={{'{key}': ('cup', {markup!r})}})" for name, key in PARTS.items()
        }
        values = ", ".join(f"'{name}': {value}" for name, value in update.items())
        written = json.dumps(f"{read}\nrun = run.model_copy(update={{{values}}})")[1:-1]
        copy = folder / notebook.name
        copy.write_text(content.replace(read, written))
        return copy

    @classmethod
    def write(
        cls, folder: Path, config: dict[str, Any] | Run, cells: Cells | None = None, half_width: float = 0.3
    ) -> Results:
        """Write metrics.csv, noise_accuracy.csv and samples; distances have intervals of plus and minus the width."""
        rows, run = [], cls.run(config)
        for cell in list_cells(run):
            right, distance = (cells or cls.PAPER)[cell.method.name][cell.method.scales.index(cell.scale)]
            n = run.sampling.methods[cell.method.name].num_samples
            low, high = wilson_interval(right, n)
            row = {"method": cell.method.name, "scale": cell.scale, "target": cell.target, "seed": cell.seed, "n": n}
            row |= {"accuracy_self": 1.0, "accuracy_heldout": right / n}
            row |= {"accuracy_heldout_low": low, "accuracy_heldout_high": high}
            row |= {f"probability_{judge}_{what}": 0.5 for judge in ("self", "heldout") for what in ("mean", "std")}
            row |= {f"{what}_judge": 0.5 for what in ("precision", "recall", "density", "coverage")}
            row |= {f"share_{name}": 0.2 for name in run.dataset.classes} | {"none_share": 0.2}
            for column in ("recall_judge", "coverage_judge"):
                row |= {column: cls.DIVERSITY, f"{column}_real": cls.DIVERSITY}
            for column in ("fd_judge", "fd_judge_conditional", "kd_judge_conditional"):
                row |= {
                    column: distance,
                    f"{column}_low": distance - half_width,
                    f"{column}_high": distance + half_width,
                }
            rows.append(row | {"fd_judge_conditional_real": cls.REAL, "warning": ""})
            path = cell.path(folder / "samples")
            path.parent.mkdir(parents=True, exist_ok=True)
            shade = np.full((n, 8, 8, 3), 10 * len(rows) % 256, dtype=np.uint8)
            np.save(path, shade)
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False, float_format="%.6g")
        cls.noise_table(cls.NOISE).to_csv(folder / "noise_accuracy.csv", index=False)
        results = Results.read(run, folder)
        cls.comparison_table(results, half_width).to_csv(folder / "comparisons.csv", index=False, float_format="%.6g")
        return results

    @classmethod
    def comparison_table(cls, results: Results, half_width: float = 0.3) -> pd.DataFrame:
        """Return the table in which methods have their shares and distances, and succeed and err independently."""
        rows, column = [], "fd_judge_conditional"
        outcomes = {(o.method.name, o.target): o for o in results.outcomes if o.scale == results.chosen[o.method.name]}
        seeds, pairs = len(results.run.sampling.seeds), list(combinations(results.methods, 2))
        for target in dict.fromkeys(target for _, target in outcomes):
            strata = len(results.targets) if target == ALL_TARGETS else 1
            for one, other in ((outcomes[a.name, target], outcomes[b.name, target]) for a, b in pairs):
                n = min(one.cell_n, other.cell_n) * seeds
                a, b = (round(o.accuracy.value * n) for o in (one, other))
                both = round(a * b / n)
                counts = Pairs(both, a - both, b - both, n - a - b + both)
                row = {"one": one.method.name, "other": other.method.name, "target": target, "n": n * strata}
                row |= {"one_scale": one.scale, "other_scale": other.scale, "cell_n": n // seeds, "seeds": seeds}
                z = share_difference_statistic([counts] * strata)
                row |= {"guide": "", "accuracy_heldout_p": math.erfc(abs(z) / math.sqrt(2)), "accuracy_self_p": None}
                row |= named("accuracy_heldout_difference", share_difference([counts] * strata))
                row |= named("accuracy_self_difference", (math.nan,) * 3)
                for name in ("both", "one", "other", "neither"):
                    row |= {f"{name}_heldout": strata * getattr(counts, name), f"{name}_self": math.nan}
                half = half_width / math.sqrt(strata * seeds)
                row |= around(f"{column}_one", one.distance.value, half)
                row |= around(f"{column}_other", other.distance.value, half) | {f"{column}_real": cls.REAL}
                apart, wide = one.distance.value - other.distance.value, half * math.sqrt(2)
                row |= around(f"{column}_difference", apart, wide)
                row |= {f"{column}_p": p_value(Interval(apart, apart - wide, apart + wide), 0.0)}
                row |= around(f"{column}_ratio", one.distance.value / other.distance.value, math.nan)
                rows.append(row)
        return pd.DataFrame(rows)

    @classmethod
    def write_further(cls, folder: Path, config: dict[str, Any] | Run) -> None:
        """Write the tables that not every run has, with numbers like the paper's."""
        cells = list_cells(cls.run(config))
        guided = [cell for cell in cells if cell.method.guided]
        tables = {
            "sensitivity": cls.sensitivity_table(strong=4.0, weak=40.0),
            "trajectories": cls.trajectory_table(guided, {"strong_xt": 0.8, "weak_xt": 0.1}),
            "signatures": cls.signature_table(cells, {"weak_x0": 0.05}),
            "factors": cls.factor_table(cells, spread={}),
        }
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")

    @staticmethod
    def sensitivity_table(strong: float, weak: float) -> pd.DataFrame:
        """Return the table in which a classifier's raw gradient on x_t has this quotient, give or take a tenth."""
        return pd.DataFrame(
            {"classifier": name, "at": at, "quantity": quantity, "stabilizer": stabilizer, "t": t, "n": 64}
            | {"alpha_bar": 1 - t / 400, **around("ratio", ratio if stabilizer == "" else ratio / 10, 0.1 * ratio)}
            | around("relative_change", 0.5, 0.05)
            for name, ratio in (("strong", strong), ("weak", weak))
            for at in ("xt", "x0")
            for quantity in ("logits", "gradient")
            for stabilizer in ("", "ema(beta=0.9)", "adam")
            for t in (1, 100, 200, 300)
        )

    @staticmethod
    def trajectory_table(cells: Sequence[Cell], cosines: Mapping[str, float]) -> pd.DataFrame:
        """Return the table of four steps in which a method's successive gradients have this cosine, else 0.5."""
        rows = []
        for cell in cells:
            for k in range(4):
                row = {**key_of(cell), "k": k, "t": 300 - 100 * k, "noise_level": 0.9 - 0.2 * k, "n": 32}
                for column in ("cosine", "norm", "cosine_stabilized", "norm_stabilized", "survival", "survival_raw"):
                    value = cosines.get(cell.method.name, 0.5) if column == "cosine" else 0.5
                    if not column.startswith("cosine") or k > 0:
                        row |= around(column, value, 0.05)
                rows.append(row)
        return pd.DataFrame(rows)

    @classmethod
    def signature_table(
        cls, cells: Sequence[Cell], colour: Mapping[str, float], none: Mapping[str, float] | None = None
    ) -> pd.DataFrame:
        """Return the table in which both signatures of a method are so many times the scale, else 0.01 and 0."""
        rows = []
        for cell in cells:
            row: dict[str, Any] = {**key_of(cell), "n": cls.N, "accepted_n": cls.N}
            name = cell.method.name
            for column in ("colour_shift", "median_shift", "saturation_shift"):
                row |= around(column, colour[name] * cell.scale if name in colour else 0.01, 0.01)
                row |= {f"{column}_real": 0.01}
            row |= dict.fromkeys(("red_shift", "green_shift", "blue_shift"), 0.0)
            failed = round(cls.N * (none or {}).get(name, 0.0) * cell.scale)
            low, high = wilson_interval(failed, cls.N)
            for factor in ("x", "y", "size", "rotation"):
                row |= around(f"{factor}_distance", 0.03, 0.01) | {f"{factor}_distance_real": 0.03}
                if factor != "rotation":
                    row |= around(f"{factor}_shift", 0.0, 0.01) | {f"{factor}_shift_real": 0.01}
            for column in ("none_share", "fooled_share", "blank_share"):
                row |= {column: failed / cls.N, f"{column}_low": low, f"{column}_high": high, f"{column}_real": 0.0}
            rows.append(row)
        return pd.DataFrame(rows)

    @classmethod
    def factor_table(cls, cells: Sequence[Cell], spread: Mapping[str, float]) -> pd.DataFrame:
        """Return the table in which a method's balls are spread so many times as widely as real ones, else as much."""
        rng = np.random.default_rng(0)
        parts = []
        keys = [(key_of(cell), spread.get(cell.method.name, 1.0), cls.N) for cell in cells]
        targets = dict.fromkeys(cell.target for cell in cells)
        real = [{"method": name, "target": target} for name in ("real", "real_judged") for target in targets]
        for key, width, n in keys + [(key, 1.0, 500) for key in real]:
            values = {factor: rng.normal(0.5, 0.1 * width, n) for factor in ("x", "y", "size")}
            values["rotation"] = rng.uniform(0, 360, n)
            values |= {"colour_shift": rng.uniform(0, 0.1, n), "contrast": rng.uniform(0.1, 0.2, n)}
            row = {**key, "index": range(n), "accepted": 1, "judged": key["target"], "fooled": 0}
            parts.append(pd.DataFrame(row | values))
        return pd.concat(parts)

    @staticmethod
    def noise_table(right: Mapping[tuple[str, str], Sequence[int]]) -> pd.DataFrame:
        """Return the table in which so many of 500 images are right at t = 0, 200 and 399."""
        rows = []
        for (classifier, at), counts in right.items():
            for t, count in zip((0, 200, 399), counts, strict=True):
                low, high = wilson_interval(count, 500)
                row = {"classifier": classifier, "at": at, "t": t, "n": 500, "alpha_bar": 1 - t / 400}
                for column, name in (("accuracy", "accuracy"), ("probability_mean", "probability")):
                    row |= {column: count / 500, f"{name}_low": low, f"{name}_high": high}
                rows.append(row)
        return pd.DataFrame(rows)


def around(column: str, value: float, half_width: float) -> dict[str, float]:
    """Return a number's three columns."""
    return {column: value, f"{column}_low": value - half_width, f"{column}_high": value + half_width}


def named(column: str, ends: Sequence[float]) -> dict[str, float]:
    """Return a number's three columns from the number and the ends of its interval."""
    return dict(zip((column, f"{column}_low", f"{column}_high"), ends, strict=True))


def key_of(cell: Cell) -> dict[str, Any]:
    """Return what a cell's rows begin with."""
    return {"method": cell.method.name, "scale": cell.scale, "target": cell.target, "seed": cell.seed}
