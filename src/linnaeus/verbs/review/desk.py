"""The desk: cases on one side, the diary of decisions on the other; knows nothing of HTTP."""

from __future__ import annotations

import getpass
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any

from linnaeus.data.corrections import is_about_a_set
from linnaeus.data.decode import read_bytes
from linnaeus.data.diary import DECISIONS, Correction, Diary, content_hash
from linnaeus.errors import LinnaeusError, PictureError
from linnaeus.records import Dataset, Place, split_label
from linnaeus.verbs.review.cases import Case

ORDERS = ("found", "doubtful", "sure", "label", "name")
STATES = ("open", "decided", "all")
VIEWS_KEPT = 16


class RequestError(LinnaeusError):
    """Something was asked of the desk that does not hold."""


class Desk:
    """Show cases in any order, take decisions, and take them back; every answer rests on what is on the disk.

    Args:
        cases: In the order found.
        dataset: For its name and classes.
        path: The table of corrections; it need not exist.
        by: Who decides; the user's name by default.
        notes: What was found that is about no picture.
    """

    def __init__(
        self, cases: Sequence[Case], dataset: Dataset, path: Path, *, by: str | None = None, notes: Sequence[str] = ()
    ) -> None:
        self.cases, self.dataset, self.notes = tuple(cases), dataset, tuple(notes)
        self.by = _user() if by is None else by
        self.diary = Diary(path)
        self._lock = RLock()
        self._of_id: defaultdict[str, list[int]] = defaultdict(list)
        self._of_cluster: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._of_hash: defaultdict[str, list[int]] = defaultdict(list)
        self._hashes: dict[str, str] = {}
        self._views: OrderedDict[int, list[int]] = OrderedDict()
        self._next_view = count(1)
        self._last = datetime.fromtimestamp(0, UTC)
        for n, case in enumerate(self.cases):
            self._of_id[case.id].append(n)
            self._of_hash[case.hash].append(n)
            if case.cluster:
                self._of_cluster[case.kind, case.cluster].append(n)
        self._ids = {example.id for example in dataset.examples}
        self._begin()
        self._follow()

    def overview(self) -> dict[str, Any]:
        """Describe the whole: the classes, and how much of each kind is decided."""
        with self._lock:
            self._follow()
            return {
                "name": self.dataset.name,
                "pictures": len(self.dataset),
                "classes": self.classes(),
                "multilabel": self.dataset.multilabel,
                "corrections": str(self.diary.path),
                "notes": list(self.notes),
                "problems": list(self.diary.problems),
                "kinds": self._kinds(),
            }

    def classes(self) -> list[str]:
        """List the class names, those added in review last."""
        return list(dict.fromkeys((*self.dataset.classes, *self.diary.standing.new_classes)))

    def view(self, kind: str = "", label: str = "", state: str = "open", order: str = "found") -> dict[str, Any]:
        """Choose and sort cases once, so that pages of them do not shift while decisions are made.

        Args:
            kind: Of finding; "" for all, each picture once.
            label: Of the source; "" for all.
            state: One of `STATES`.
            order: One of `ORDERS`.
        """
        _check(state in STATES, f"state should be one of {', '.join(STATES)}", state)
        _check(order in ORDERS, f"order should be one of {', '.join(ORDERS)}", order)
        with self._lock:
            self._follow()
            chosen = [n for n, case in enumerate(self.cases) if (not kind or case.kind == kind)]
            if not kind:
                chosen = [n for n in chosen if self._of_id[self.cases[n].id][0] == n]
            if label:
                chosen = [n for n in chosen if self.cases[n].label == label]
            if state != "all":
                chosen = [n for n in chosen if bool(self._is_decided[n]) == (state == "decided")]
            if kind:
                chosen = self._with_their_sets(chosen)
            number = next(self._next_view)
            self._views[number] = self._sorted(chosen, order, keep_sets=bool(kind))
            while len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
            return {"view": number, "total": len(chosen)}

    def numbers(self, view: int, start: int, many: int) -> list[int]:
        """Return the numbers of some cases of a view."""
        with self._lock:
            _check(view in self._views, "view should be one of the last made", str(view))
            self._views.move_to_end(view)
            return self._views[view][max(start, 0) : max(start, 0) + max(many, 0)]

    def page(self, view: int, start: int, many: int) -> list[dict[str, Any]]:
        """Describe some cases of a view."""
        with self._lock:
            return [self._told(n) for n in self.numbers(view, start, many)]

    def cluster(self, n: int) -> list[dict[str, Any]]:
        """Describe the cases that are shown side by side with one, itself included."""
        with self._lock:
            case = self._case(n)
            members = self._of_cluster[case.kind, case.cluster] if case.cluster else [n]
            return [self._told(member) for member in members]

    def place(self, n: int) -> Place:
        """Say where the bytes of a case's picture are."""
        return self._case(n).place

    def decide(
        self, numbers: Sequence[int], action: str, new_label: str = "", *, add_class: bool = False
    ) -> dict[str, Any]:
        """Write a decision on some pictures; on return it is on the disk.

        Relabelling a picture to what the source says is keeping it.

        Args:
            numbers: Of cases.
            action: One of `DECISIONS`.
            new_label: For "relabel": a class, or several joined by | where pictures have several.
            add_class: Take a name that is no class as a new class.

        Raises:
            RequestError: It does not hold.
            OSError: It could not be written.
        """
        _check(action in DECISIONS, f"action should be one of {', '.join(DECISIONS)}", action)
        _check(len(numbers) > 0, "a decision should be about pictures", "none")
        new_label = new_label if action == "relabel" else ""
        with self._lock:
            cases = list({self._case(n).id: self._case(n) for n in numbers}.values())
            time = self._now()
            lines = self._new_class(new_label, add_class, time) if action == "relabel" else []
            for case in cases:
                right = action == "relabel" and new_label == case.label
                lines.append(self._line(case, "keep" if right else action, "" if right else new_label, time))
            return self._write(lines)

    def accept(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Relabel each of some pictures to what is suggested for it, in one step; those without are left as they are.

        Raises:
            RequestError: None of them has a suggestion.
            OSError: It could not be written.
        """
        with self._lock:
            known = set(self.classes())
            chosen = {self._case(n).id: self._case(n) for n in numbers if self._case(n).suggested in known}
            _check(bool(chosen), "a class should be suggested for the picture", "none")
            time = self._now()
            return self._write([self._line(case, "relabel", case.suggested, time) for case in chosen.values()])

    def keep_only(self, n: int) -> dict[str, Any]:
        """Keep one picture of a set and exclude the others, in one step.

        Raises:
            RequestError: The case is in no set.
            OSError: It could not be written.
        """
        with self._lock:
            chosen = self._case(n)
            members = {self.cases[m].id: self.cases[m] for m in self._of_cluster.get((chosen.kind, chosen.cluster), ())}
            _check(len(members) > 1, "the picture should be one of a set", chosen.id)
            time = self._now()
            return self._write(
                [self._line(case, "keep" if id == chosen.id else "exclude", "", time) for id, case in members.items()]
            )

    def _line(self, case: Case, action: str, new_label: str, time: str) -> Correction:
        return Correction(case.id, self._hash(case), action, case.label, new_label, time, self.by)

    def take_back(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Take back the last decision on each of some pictures; what was decided before it stands again."""
        with self._lock:
            self._follow()
            tops = {top.key: top for n in numbers if (top := self._decision(n)) is not None}
            _check(bool(tops), "there should be a decision to take back", "none")
            return self._write([self._undo(top) for top in tops.values()])

    def undo(self) -> dict[str, Any]:
        """Take back this person's last step, however many pictures it was about, also of an earlier session."""
        with self._lock:
            self._follow()
            piles = self.diary.standing.piles.values()
            mine = [pile[-1] for pile in piles if pile and pile[-1].by == self.by]
            _check(bool(mine), "there should be a decision to undo", "none")
            last = max(top.time for top in mine)
            return self._write([self._undo(top) for top in mine if top.time == last])

    def _write(self, lines: list[Correction]) -> dict[str, Any]:
        touched = self._take_in(self.diary.append(lines))
        return {
            "decisions": {n: self._told_decision(n) for n in touched},
            "pictures": sum(line.action != "add-class" for line in lines),
            "kinds": self._kinds(),
            "classes": self.classes(),
        }

    def _undo(self, top: Correction) -> Correction:
        return replace(top, action="undo", new_label="", time=self._now(), by=self.by)

    def _new_class(self, name: str, add_class: bool, time: str) -> list[Correction]:
        """Check the name of a class; where it is to be added, return the line that does so."""
        known = set(self.classes())
        if name in known or (self.dataset.multilabel and name and known.issuperset(split_label(name))):
            return []
        _check(add_class, "the new label should be a class", name)
        _check(name == name.strip() and name.isprintable() and name != "", "a class should have a name", repr(name))
        return [Correction("", "", "add-class", "", name, time, self.by)]

    def _begin(self) -> None:
        """Count what there is, as if nothing were decided."""
        self._generation = self.diary.generation
        self._known_keys: set[tuple[str, str]] = set()
        self._touched_ids: set[str] = set()
        self._elsewhere: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._is_decided = bytearray(len(self.cases))
        self._totals: dict[str, list[int]] = {}
        for case in self.cases:
            self._totals.setdefault(case.kind, [0, 0])[0] += 1

    def _follow(self) -> None:
        """Take in what others have decided since."""
        self._take_in(self.diary.refresh())

    def _take_in(self, lines: Sequence[Correction]) -> list[int]:
        """Bring the counts up to date; return the cases that the lines are about."""
        if self.diary.generation != self._generation:
            self._begin()
        touched: dict[int, None] = {}
        for line in lines:
            if line.action == "add-class":
                continue
            if line.key not in self._known_keys:
                self._known_keys.add(line.key)
                self._touched_ids.add(line.id)
                if line.id not in self._ids and line.hash:
                    self._elsewhere[line.hash].append(line.key)
            # A picture that was renamed since is found by its content.
            found = self._of_id.get(line.id) or (self._of_hash.get(line.hash, []) if line.hash else [])
            touched.update(dict.fromkeys(found))
        for n in touched:
            decided = self._decision(n) is not None
            self._totals[self.cases[n].kind][1] += decided - self._is_decided[n]
            self._is_decided[n] = decided
        return list(touched)

    def _case(self, n: int) -> Case:
        _check(0 <= n < len(self.cases), "the number should be that of a case", str(n))
        return self.cases[n]

    def _hash(self, case: Case) -> str:
        if case.hash:
            return case.hash
        if case.id not in self._hashes:
            try:
                self._hashes[case.id] = content_hash(read_bytes(case.place), case.place.layout)
            except PictureError:
                self._hashes[case.id] = ""
        return self._hashes[case.id]

    def _decision(self, n: int) -> Correction | None:
        """Return what stands about a case; not what was decided when it had another label or other content."""
        case = self.cases[n]
        top = self.diary.standing.top((case.id, self._hash(case))) if case.id in self._touched_ids else None
        if top is None and case.hash in self._elsewhere:
            tops = (self.diary.standing.top(key) for key in self._elsewhere[case.hash])
            top = next((one for one in tops if one is not None), None)
        return top if top is not None and top.label == case.label else None

    def _told_decision(self, n: int) -> dict[str, str] | None:
        top = self._decision(n)
        return None if top is None else {"action": top.action, "new_label": top.new_label, "by": top.by}

    def _told(self, n: int) -> dict[str, Any]:
        case = self.cases[n]
        members = self._of_cluster[case.kind, case.cluster] if case.cluster else [n]
        return {
            "n": n,
            "id": case.id,
            "label": case.label,
            "kind": case.kind,
            "evidence": case.evidence,
            "suggested": case.suggested,
            "score": case.score,
            "cluster": case.cluster,
            "cluster_size": len(members),
            "decision": self._told_decision(n),
        }

    def _kinds(self) -> list[dict[str, Any]]:
        return [
            {"kind": kind, "total": total, "decided": decided, "set": is_about_a_set(kind)}
            for kind, (total, decided) in self._totals.items()
        ]

    def _with_their_sets(self, chosen: list[int]) -> list[int]:
        """Add the rest of a set of which some are chosen: one of two copies cannot be judged alone."""
        whole = dict.fromkeys(chosen)
        for n in chosen:
            case = self.cases[n]
            if case.cluster:
                whole.update(dict.fromkeys(self._of_cluster[case.kind, case.cluster]))
        return list(whole)

    def _sorted(self, chosen: list[int], order: str, *, keep_sets: bool) -> list[int]:
        cases = self.cases
        if order == "name":
            chosen = sorted(chosen, key=lambda n: cases[n].id)
        elif order == "label":
            chosen = sorted(chosen, key=lambda n: (cases[n].label, cases[n].suggested, n))
        elif order in ("doubtful", "sure"):
            sign = 1 if order == "doubtful" else -1
            chosen = sorted(chosen, key=lambda n: (cases[n].score is None, sign * (cases[n].score or 0), n))
        else:
            chosen = sorted(chosen)
        if not keep_sets:
            return chosen
        groups: dict[tuple[str, str] | int, list[int]] = {}
        for n in chosen:
            groups.setdefault((cases[n].kind, cases[n].cluster) if cases[n].cluster else n, []).append(n)
        return [n for group in groups.values() for n in group]

    def _now(self) -> str:
        """Tell the time in UTC, never twice the same, so that steps can be told apart."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _check(holds: bool, rule: str, got: str) -> None:
    if not holds:
        raise RequestError(f"{rule}.", got=got)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
