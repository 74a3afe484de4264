"""The fault run ends where nothing moves any more; its own looks are no movement."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from faults import disturb, play
from faults.plan import Fault, Kind
from faults.play import CHECK_EVERY_S, STANDSTILL_S, Player, Progress, Watch
from faults.scene import Scene

TENTH_CALL = Fault(Kind.FLUSH, ("valkey",), at=10, counted="admitted", lasts_s=0.0)


@dataclass
class World:
    """Services that go on by themselves for a while, and then no more. Time passes only while somebody sleeps or looks.

    Attributes:
        lives_s: so long calls are admitted.
        every_s: one in so many seconds.
        look_s: how long a look at the invariants takes.
    """

    lives_s: float
    every_s: float = 1.0
    look_s: float = 1.0
    now: float = 1000.0
    looked_at: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 10_000, "it would wait for ever"

    def look(self, _scene: object) -> None:
        self.looked_at.append(self.now)
        self.now += self.look_s

    def progress(self) -> Progress:
        return Progress(admitted=int(min(self.now - 1000.0, self.lives_s) / self.every_s))


def play_in(world: World, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(play, "look", world.look)
    monkeypatch.setattr(Watch, "look", world.progress)
    nowhere = cast("Scene", None)
    player = Player(nowhere, 10, lambda _line: None, clock=world.clock, sleep=world.sleep)
    try:
        player.play([fault])
    finally:
        player.close()


def test_a_world_that_stands_still_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lives_s=5.0)

    with pytest.raises(AssertionError, match="nothing has moved for 180 s: Progress\\(admitted=5"):
        play_in(world, monkeypatch, TENTH_CALL)

    assert len(world.looked_at) >= STANDSTILL_S // (CHECK_EVERY_S + world.look_s + 1), "it went on looking"


def test_a_look_that_takes_long_is_nobodys_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lives_s=5.0, look_s=STANDSTILL_S + 1)

    with pytest.raises(AssertionError, match="nothing has moved"):
        play_in(world, monkeypatch, TENTH_CALL)

    spent_looking = world.look_s * len(world.looked_at)
    assert world.now - 1000.0 - spent_looking > STANDSTILL_S


def test_a_world_that_moves_now_and_then_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lives_s=1e6, every_s=STANDSTILL_S - 10)
    begun: list[Fault] = []
    monkeypatch.setattr(disturb, "begin", lambda _scene, fault: begun.append(fault))
    monkeypatch.setattr(disturb, "end", lambda _scene, _fault: [])

    play_in(world, monkeypatch, TENTH_CALL)

    assert begun == [TENTH_CALL]
