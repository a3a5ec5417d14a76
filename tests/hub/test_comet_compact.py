"""What an engine has pruned takes its place on the disk until its databases are compacted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from comets import Federation, Member, until

from hub.consensus.comet import Comet
from hub.consensus.comet_compact import MARK, compact
from hub.federation.snapshots import Snapshots


def store_of(home: Path) -> int:
    return sum(file.stat().st_size for file in (home / "data/blockstore.db").iterdir())


def with_snapshots(member: Member, keep: int) -> Snapshots:
    """Let a member's engine keep so many blocks, and make snapshots."""
    found = Snapshots(member.directory, member.store.database, 4, keep=keep)
    member.comet = Comet(
        member.ledger,
        member.store.chain,
        member.federation.genesis,
        member.key,
        member.settings,
        snapshots=found,
    )
    member.comet.subscribe(member.events.append)
    member.directory.mkdir(exist_ok=True)
    found.start()
    return found


def test_a_pruned_store_gives_its_space_back_when_it_is_compacted(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    program = str(require("cometbft"))
    federation = Federation(tmp_path, program)
    made = [
        with_snapshots(member, keep) for member, keep in zip(federation.members, (0, 2, 2, 2), strict=True)
    ]
    archive, pruned = federation.members[:2]
    try:
        federation.start()
        gateway = federation.fleet.gateway("a")
        federation.final(archive.comet.submit(federation.fleet.order_enrolment(gateway.enrol())))
        for _ in range(12):
            blocks = [gateway.block(1) for _ in range(100)]
            federation.final(archive.comet.submit(federation.fleet.order_headers(*blocks)))
        until(lambda: all(each.snapshots() for each in made))
        until(lambda: archive.events and pruned.events)
    finally:
        federation.close()
        for each in made:
            each.worker.stop()
    homes = archive.settings.home, pruned.settings.home
    kept = [store_of(home) for home in homes]
    assert kept[1] > 0.8 * kept[0], "pruning alone frees nothing"
    assert not compact(homes[1], program), "it is too small to be worth the time"
    assert not compact(homes[1], "no-such-program", 1)
    for home in homes:
        assert compact(home, program, 1)
        (home / "data" / MARK).unlink()
        assert compact(home, program, 1)  # the first time leaves behind what the next opening removes
        assert not compact(home, program, 1), "once is enough"
    assert store_of(homes[1]) < 0.6 * store_of(homes[0])
