"""Sections as values: what they take, what they record, and the sentence for each mistake."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, ValidationError
from sections import run_of

from nonrobust_guidance.config import parse_config
from nonrobust_guidance.errors import UserError
from nonrobust_guidance.sampling.settings import chain_of_stabilizers
from nonrobust_guidance.settings import CARRIED_OUT, Choice, OneOf, Settings, absent, sentence_of
from nonrobust_guidance.settings.types import DIFFERENT, OR_NULL, Count, Flag, Identifier, Positive


@dataclass(frozen=True)
class Bell:
    """Stands for a class whose fields are keys of a run file."""

    pitch: float
    loud: bool = False
    notes: tuple[int, ...] = ()
    owner: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.pitch < 10:
            raise ValueError(f"A bell's pitch is {self.pitch}; it must be between 0 and 10.")
        if self.loud and self.pitch > 5:
            raise ValueError("A high bell must not be loud.")


@dataclass(frozen=True)
class Tower:
    """Stands for a class that is given some of its fields by the run."""

    city: str
    height: int = 3
    rooms: list[int] = field(default_factory=list)


class Door(Settings):
    name: Literal["door"]
    wide: Flag = True


KINDS = {"bell": Bell, "tower": Tower, "door": Door}
Kind = Annotated[Any, OneOf(KINDS, given=("city",), bare=True)]


class Room(Settings):
    size: Count
    height: Annotated[Positive | None, OR_NULL] = None
    door: Door | None = absent()
    speed: Annotated[Count, CARRIED_OUT] = 5


class House(Settings):
    rooms: Annotated[dict[Identifier, Room], Field(min_length=1)]
    colour: Literal["red", "blue"] = "red"
    years: Annotated[tuple[Count, ...], DIFFERENT] = ()
    kind: Kind | None = absent()


def house(**sections: Any) -> House:
    return House.model_validate({"rooms": {"hall": {"size": 3}}, **sections})


def test_a_section_says_what_was_written_and_its_defaults() -> None:
    made = house(rooms={"hall": {"size": 3, "height": 2}})
    assert made.resolved() == {
        "rooms": {"hall": {"size": 3, "height": 2, "speed": 5}},
        "colour": "red",
        "years": [],
    }
    assert repr(made.resolved()["rooms"]["hall"]["height"]) == "2", "a whole number stays one"
    assert House.model_validate(made.resolved()) == made


def test_how_something_is_carried_out_is_not_recorded_at_any_depth() -> None:
    slow, fast = house(rooms={"hall": {"size": 3, "speed": 1}}), house(rooms={"hall": {"size": 3, "speed": 9}})
    assert slow != fast
    assert slow.recorded() == fast.recorded()
    assert slow.recorded()["rooms"] == {"hall": {"size": 3, "height": None}}


def test_a_section_does_not_change() -> None:
    with pytest.raises(ValidationError):
        house().colour = "blue"


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"color": "red"}, "color is an unknown key; did you mean colour?"),
        ({"rooms": {"hall": {"sise": 3}}}, "rooms.hall.sise is an unknown key; did you mean size?"),
        ({"rooms": {"hall": {}}}, "rooms.hall.size is missing; add it"),
        ({"rooms": {"hall": 3}}, "rooms.hall is 3; give a mapping"),
        ({"rooms": {"Hall": {"size": 3}}}, "rooms has the name 'Hall'; use only lower-case letters, digits and _"),
        ({"rooms": {}}, "rooms has 0 entries; give at least 1"),
        ({"rooms": {"hall": {"size": True}}}, "rooms.hall.size is true; give a whole number"),
        ({"rooms": {"hall": {"size": 3.0}}}, "rooms.hall.size is 3.0; give a whole number"),
        ({"rooms": {"hall": {"size": 0}}}, "rooms.hall.size is 0; give a number at least 1"),
        ({"rooms": {"hall": {"size": 3, "height": "x"}}}, "rooms.hall.height is 'x'; give a finite number or null"),
        (
            {"rooms": {"hall": {"size": 3, "height": float("nan")}}},
            "rooms.hall.height is nan; give a finite number or null",
        ),
        ({"rooms": {"hall": {"size": 3, "door": None}}}, "rooms.hall.door is empty; give it a value, or remove it"),
        (
            {"rooms": {"hall": {"size": 3, "door": {"name": "door", "wide": "no"}}}},
            "rooms.hall.door.wide is 'no'; give true or false, written as false",
        ),
        ({"colour": "bleu"}, "colour is 'bleu', which is unknown; did you mean blue?"),
        ({"colour": 3}, "colour is 3; give a text, in quotes"),
        ({"years": [1, 2, 1]}, "years lists a value twice; remove one"),
        ({"years": {"a": 1}}, "years is a mapping; give a list"),
        # Of several mistakes, the key with a typing error is told.
        ({"rooms": {"hall": {}}, "colour": 3, "yaers": []}, "yaers is an unknown key; did you mean years?"),
        ({"kind": {"name": "bel"}}, "kind.name is 'bel', which is unknown; did you mean bell?"),
        ({"kind": {"pitch": 3}}, "kind.name is missing; add it"),
        ({"kind": {"name": "bell"}}, "kind.pitch is missing; add it"),
        ({"kind": {"name": "bell", "pich": 3}}, "kind.pich is an unknown key; did you mean pitch?"),
        ({"kind": {"name": "bell", "pitch": True}}, "kind.pitch is true; give a finite number"),
        ({"kind": {"name": "bell", "pitch": 1e-300}}, "kind.pitch is 1e-300; give 0, or a number whose size is at"),
        ({"kind": {"name": "bell", "pitch": 3, "notes": [1, 2.5]}}, "kind.notes[1] is 2.5; give a whole number"),
        # What the class itself says is told at the key that it names, or at the class.
        ({"kind": {"name": "bell", "pitch": 11}}, "kind.pitch is 11; it must be between 0 and 10"),
        ({"kind": {"name": "bell", "pitch": 6, "loud": True}}, "kind is refused: A high bell must not be loud"),
        ({"kind": {"name": "tower", "city": "Rome"}}, "kind.city is an unknown key; use height or rooms"),
        ({"kind": {"name": "door", "wide": 1}}, "kind.wide is 1; give true or false"),
        ({"kind": 3}, "kind is 3; give a text or a mapping, in quotes"),
        ({"kind": {"uses": "mine.py:Mine"}}, "kind.name is missing; add it"),
    ],
)
def test_a_mistake_is_one_sentence(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        house(**sections)
    assert sentence_of(caught.value).startswith(sentence)


def test_a_choice_makes_its_instance_and_remembers_what_was_written() -> None:
    chosen = house(kind={"name": "bell", "pitch": 3, "notes": [1, 2]}).kind
    assert isinstance(chosen, Choice)
    assert chosen.make() == Bell(3, notes=(1, 2))
    assert chosen.written == {"name": "bell", "pitch": 3, "notes": [1, 2]}
    tower = house(kind="tower").kind
    assert tower.make(city="Pisa") == Tower("Pisa")
    assert house(kind="tower").resolved()["kind"] == "tower"
    assert house(kind={"name": "tower", "height": 9}).kind.make(city="Pisa").height == 9
    assert house(kind={"name": "door", "wide": False}).kind == Door(name="door", wide=False)


MINE = """\
from dataclasses import dataclass

@dataclass(frozen=True)
class Loud:
    gain: float = 2.0

    def __post_init__(self):
        if self.gain <= 0:
            raise ValueError(f"gain is {self.gain}; it must be greater than 0")

    def init(self, x):
        return 0

    def update(self, state, g):
        return state + 1, self.gain * g

class Plain:
    pass

@dataclass
class Half:
    def init(self, x):
        return None
"""


def run_with(stabilizer: dict[str, Any]) -> dict[str, Any]:
    method = {"classifier": "weak", "at": "x0", "scales": [1], "stabilizer": stabilizer}
    return run_of({"sampling": {"methods": {"mine": {**method, "stabilizer": []}}}}).resolved() | {
        "sampling": {"steps": 4, "num_samples": 6, "seeds": [0], "targets": ["cup"], "methods": {"mine": method}}
    }


def test_a_stabilizer_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    run = parse_config(run_with({"uses": f"{file}:Loud", "gain": 3}), "mine.yaml")
    method = run.sampling.guided["mine"]
    stabilizer = chain_of_stabilizers(method.stabilizer)
    g = torch.ones(1, 3, 2, 2)
    assert stabilizer.update(stabilizer.init(g), g)[1].equal(3 * g)
    digest = hashlib.sha256(MINE.encode()).hexdigest()
    assert method.recorded()["stabilizer"] == [{"uses": f"{file}:Loud", "uses_sha256": digest, "gain": 3}]
    # What is written for the jobs is the same run, as long as the file is the same.
    assert parse_config(run.resolved(), "mine.yaml") == run
    file.write_text(MINE + "\n")
    with pytest.raises(UserError, match=r"mine\.py was changed since the run began; start it again, or undo"):
        parse_config(run.resolved(), "mine.yaml")
    changed = parse_config(run_with({"uses": f"{file}:Loud", "gain": 3}), "mine.yaml")
    assert changed.sampling.recorded() != run.sampling.recorded()


@pytest.mark.parametrize(
    ("content", "stabilizer", "sentence"),
    [
        (
            None,
            {"uses": "FILE:Loud"},
            "stabilizer.uses cannot be used: FILE cannot be read (No such file or directory)",
        ),
        (MINE, {"uses": "FILE"}, "stabilizer.uses cannot be used: 'FILE' names no class in a file; write path/to/file"),
        (MINE, {"uses": 3}, "stabilizer.uses is 3; give a text, in quotes"),
        (MINE, {"uses": "FILE:Lowd"}, "stabilizer.uses cannot be used: FILE has no class Lowd; correct the name"),
        (MINE, {"uses": "FILE:Plain"}, "stabilizer.uses cannot be used: Plain in FILE is no dataclass; write @data"),
        (MINE, {"uses": "FILE:Half"}, "stabilizer.uses cannot be used: Half in FILE has no method update; add it"),
        (MINE, {"uses": "FILE:Loud", "gian": 3}, "stabilizer.gian is an unknown key; did you mean gain?"),
        (MINE, {"uses": "FILE:Loud", "gain": -1}, "stabilizer.gain is -1; it must be greater than 0"),
        ("a = 1\nb = c\n", {"uses": "FILE:Loud"}, "cannot be used: FILE fails at line 2 (NameError: name 'c' is not"),
        ("a = 1\nb = (\n", {"uses": "FILE:Loud"}, "cannot be used: FILE fails at line 2 (SyntaxError: '(' was never"),
        (
            MINE.replace("gain: float", "gain: 'Gian'"),
            {"uses": "FILE:Loud"},
            "stabilizer names Loud, which has a field that no run file can give (name 'Gian' is not defined); give it",
        ),
        (
            "import torch\n" + MINE.replace("gain: float", "gain: torch.Tensor"),
            {"uses": "FILE:Loud"},
            "stabilizer names Loud, which has a field that no run file can give (Unable to generate",
        ),
    ],
)
def test_a_mistake_in_such_a_file_is_one_sentence(
    tmp_path: Path, content: str | None, stabilizer: dict[str, Any], sentence: str
) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    asked = {
        key: value.replace("FILE", str(file)) if isinstance(value, str) else value for key, value in stabilizer.items()
    }
    with pytest.raises(UserError) as caught:
        parse_config(run_with(asked), "mine.yaml")
    assert sentence.replace("FILE", str(file)) in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: sampling.methods.mine.stabilizer")
    assert "\n" not in str(caught.value)
