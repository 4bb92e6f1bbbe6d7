"""What leaves the run: files in other formats, proved equal, and smaller, faster versions behind a gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from linnaeus.verbs.report.document import Block, Cell, Column, Drawing, Fold, Paragraph, Section, Table
from linnaeus.verbs.report.evidence import Evidence, estimate
from linnaeus.verbs.report.front import Asked, Point, front_chart, front_key
from linnaeus.verbs.report.language import Words
from linnaeus.verbs.report.prose import Code, Text, as_plain, joined, say, shorten
from linnaeus.verbs.report.sections.answer import command, notes

LONGEST_WHY = 400
LONGEST_TITLE = 60
LONGEST_STEP = 80
SAME_SPEED = 0.95
"""Within 5 % two files are equally fast."""
VERDICTS = ("equal", "free", "failed", "not run")


def exports(evidence: Evidence, words: Words) -> Section:
    """Say which exported files answer as the model does, how fast they are, and which one to take."""
    title, short = words.sections["export"]
    found = evidence.results.get("export")
    if not found:
        told = say(words.missing["export"], command=Code(command("export", evidence)))
        return Section("export", title, short, (Paragraph(told, "missing"),))
    files = sorted(found["files"].values(), key=_export_order)
    if not files:
        return Section("export", title, short, (Paragraph(words.no_files),))
    blocks: list[Block] = [Paragraph(one) for one in (_counted(files, words), *_to_take(files, words))]
    blocks += [Paragraph(_compared(found, files, words), "quiet"), _export_table(files, words)]
    return Section("export", title, short, (*blocks, *notes(found)))


def _export_order(one: Mapping[str, Any]) -> tuple[int, float]:
    verdict = _verdict(one)
    group = 0 if verdict in ("equal", "free") else VERDICTS.index(verdict)
    return group, float(one["speed"]["p50_ms"]) if "speed" in one else 0.0


def _verdict(one: Mapping[str, Any]) -> str:
    if one.get("why_not_here"):
        return "not run"
    if not one["proof"]["passed"]:
        return "failed"
    return "equal" if one["proof"]["limit"] is not None else "free"


def _file(one: Mapping[str, Any], words: Words) -> str:
    title = shorten(str(one["title"]), LONGEST_TITLE)
    return title if one["precision"] == "float32" else f"{title} {words.precision(str(one['precision']))}"


def _counted(files: Sequence[Mapping[str, Any]], words: Words) -> Text:
    equal = words.whole(sum(_verdict(one) == "equal" for one in files))
    told = [say(words.export_counts["equal"], n=equal, files=words.counted(len(files), "file"))]
    for verdict in VERDICTS[1:]:
        some = [_file(one, words) for one in files if _verdict(one) == verdict]
        if some:
            names = joined(some, words.comma)
            told.append(say(words.export_counts[verdict], files=words.counted(len(some), "file"), names=names))
    return joined(told, words.between)


def _compared(found: Mapping[str, Any], files: Sequence[Mapping[str, Any]], words: Words) -> Text:
    told: list[Text] = [say(words.export_told, pictures=words.counted(int(found["pictures"]), "picture"))]
    limits = [one["proof"]["limit"] for one in files if "proof" in one and one["proof"]["limit"] is not None]
    if limits:
        told.append(say(words.export_limit, limit=words.tiny(max(map(float, limits)))))
    return joined(told, words.between)


def _to_take(files: Sequence[Mapping[str, Any]], words: Words) -> Iterator[Text]:
    """Name the fastest of what is equal, and of what is not where there is nothing else."""
    usable = [one for one in files if _verdict(one) in ("equal", "free") and "speed" in one]
    equal = [one for one in usable if _verdict(one) == "equal"] or usable
    if not equal:
        return
    single = min(equal, key=_p50)
    many = max(equal, key=_per_second)
    if _p50(many) * SAME_SPEED <= _p50(single):
        single = many
    elif _per_second(single) >= SAME_SPEED * _per_second(many):
        many = single
    if single is many:
        yield say(words.export_both, **_fast(single, words))
    else:
        told = (say(words.export_one, **_fast(single, words)), say(words.export_many, **_fast(many, words)))
        yield joined(told, words.between)
    faster = min((one for one in usable if one not in equal), key=_p50, default=None)
    if faster and _p50(faster) < SAME_SPEED * _p50(single) and faster["proof"]["difference"]:
        difference = estimate(faster["proof"]["difference"])
        change, span = words.signed_points(difference.value), words.signed_range(difference)
        yield say(words.export_faster, difference=change, range=span, **_fast(faster, words))


def _p50(one: Mapping[str, Any]) -> float:
    return float(one["speed"]["p50_ms"])


def _per_second(one: Mapping[str, Any]) -> float:
    return float(one["speed"]["per_second"])


def _fast(one: Mapping[str, Any], words: Words) -> dict[str, Text]:
    return {
        "file": _file(one, words),
        "p50": words.milliseconds(_p50(one)),
        "p99": words.milliseconds(float(one["speed"]["p99_ms"])),
        "per_second": words.amount(_per_second(one)),
        "batch": words.whole(int(one["speed"]["batch"])),
        "path": Code(str(one["path"])),
    }


def _export_table(files: Sequence[Mapping[str, Any]], words: Words) -> Table:
    columns = tuple(Column(title, small, number=k >= 6) for k, (title, small) in enumerate(words.export_columns))
    return Table(columns, tuple(_export_row(one, words) for one in files), words.export_caption, "shipping")


def _export_row(one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    verdict = _verdict(one)
    head = Cell(shorten(str(one["title"]), LONGEST_TITLE), words.precision(str(one["precision"])))
    if verdict == "not run":
        why = shorten(str(one["why_not_here"]), LONGEST_WHY)
        return head, Cell(words.export_verdicts[verdict], why), *(Cell() for _ in words.export_columns[2:])
    proof, speed = one["proof"], one.get("speed") or {}
    why = shorten(str(proof["why_failed"] or ""), LONGEST_WHY)
    told: Text = words.export_verdicts[verdict]
    return (
        head,
        Cell(say("**{verdict}**", verdict=told) if verdict == "failed" else told, why),
        Cell(words.tiny(float(proof["largest_difference"]))),
        _share(proof["agreement"], words),
        _share(proof["accuracy"], words),
        _share(proof["accuracy_before"], words),
        _number(speed.get("size_bytes"), 1e6, words),
        _number(speed.get("load_s"), 1, words),
        _number(speed.get("p50_ms"), 1, words),
        _number(speed.get("p99_ms"), 1, words),
        _number(speed.get("per_second"), 1, words),
    )


def _share(stored: Mapping[str, Any] | None, words: Words) -> Cell:
    if not stored:
        return Cell()
    one = estimate(stored)
    return Cell(words.percent(one.value), words.interval(one))


def _number(value: float | None, unit: float, words: Words) -> Cell:
    return Cell() if value is None else Cell(words.amount(float(value) / unit))


def compression(evidence: Evidence, words: Words) -> Section:
    """Say what was asked for, what was chosen and why, and draw accuracy against time for all that was tried."""
    title, short = words.sections["compress"]
    found = evidence.results.get("compress")
    if not found:
        told = say(words.missing["compress"], command=Code(command("compress", evidence)))
        return Section("compress", title, short, (Paragraph(told, "missing"),))
    original = found["original"]
    rows = _fastest_first(found)
    blocks: list[Block] = [Paragraph(_asked(found, rows, words)), Paragraph(_chosen(found, original, rows, words))]
    if found.get("why"):
        blocks.append(Paragraph(say(words.compress_why, why=shorten(str(found["why"]), LONGEST_WHY)), "quiet"))
    if rows:
        named = list(_named(found, original, rows, words))
        blocks += [_front(found, original, rows, words), _candidates(named, found, words), _more(named, words)]
    return Section("compress", title, short, (*blocks, *notes(found)))


def _asked(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], words: Words) -> Text:
    drop = words.drop(float(found["max_drop"]))
    target = found.get("target") or {}
    targets = [
        say(words.compress_targets[key], times=f"{float(target[key]):g}")
        for key in ("latency", "size")
        if target.get(key)
    ]
    told: list[Text] = [
        say(words.compress_asked, targets=words.listed(targets), drop=drop)
        if targets
        else say(words.compress_asked_nothing, drop=drop)
    ]
    if rows:
        candidates = words.counted(len(rows), "candidate")
        pictures = words.counted(int(found["pictures"]), "test picture")
        passed = words.whole(sum(one["verdict"] == "passed" for one in rows))
        told.append(say(words.compress_tried, candidates=candidates, pictures=pictures))
        told.append(say(words.compress_gate, drop=drop, n=passed, candidates=candidates, level=_level(found)))
    return joined(told, words.between)


def _chosen(
    found: Mapping[str, Any], original: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], words: Words
) -> Text:
    one = next((one for one in rows if one["name"] == found["chosen"]), None)
    if one is None:
        return say(words.compress_none if rows else words.no_candidates)
    difference = estimate(one["difference"])
    return say(
        words.compress_chosen,
        name=shorten(str(one["name"]), LONGEST_TITLE),
        runtime=shorten(str(one["title"]), LONGEST_TITLE),
        faster=f"{float(one['faster']):.1f}",
        p50=words.milliseconds(float(one["p50_ms"])),
        size=words.megabytes(float(one["size_bytes"])),
        size_before=words.megabytes(float(original["size_bytes"])),
        accuracy=words.with_interval(estimate(one["accuracy"])),
        before=words.with_interval(estimate(original["accuracy"])),
        difference=words.signed_points(difference.value),
        range=words.signed_range(difference),
        level=_level(found),
        path=Code(str(one["path"])),
    )


def compression_front(found: Mapping[str, Any], words: Words) -> Drawing:
    """Draw accuracy against time for all that a compression tried."""
    return _front(found, found["original"], _fastest_first(found), words)


def _fastest_first(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(found["candidates"], key=lambda one: (float(one["p50_ms"]), str(one["name"])))


def _front(
    found: Mapping[str, Any], original: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], words: Words
) -> Drawing:
    points = [Point(words.the_model, words.front_key["original"], float(original["p50_ms"]),
                    estimate(original["accuracy"]), "original")]  # fmt: skip
    for k, one in enumerate(rows, start=1):
        strong = one["name"] == found["chosen"]
        name = f"{k}. {one['name']}"
        label = name if strong else str(k) if one["front"] else ""
        look = "passed" if one["verdict"] == "passed" else "failed"
        points.append(
            Point(name, label, float(one["p50_ms"]), estimate(one["accuracy"]), look, bool(one["front"]), strong)
        )
    told = as_plain(
        say(
            words.front_chart,
            model=_point_words(points[0], words),
            front=joined([_point_words(one, words) for one in points if one.front] or [words.none], words.semicolon),
        )
    )
    latency = (found.get("target") or {}).get("latency")
    # The candidates are compared with the model in its fastest runtime, which need not be the row of the original.
    fastest = float(rows[0]["p50_ms"]) * float(rows[0]["faster"])
    asked = Asked(fastest / float(latency) if latency else None, points[0].accuracy.value - float(found["max_drop"]))
    legend = (("s1", words.front_line),) if sum(one.front for one in points) > 1 else ()
    return Drawing(front_chart(points, asked, told, words), words.front_caption, told, legend=legend,
                   key=tuple(front_key(points, asked, words)))  # fmt: skip


def _point_words(one: Point, words: Words) -> Text:
    name, accuracy = shorten(one.name, LONGEST_TITLE), words.percent(one.accuracy.value)
    return say(words.front_point, name=name, p50=words.milliseconds(one.ms), accuracy=accuracy)


def _named(
    found: Mapping[str, Any], original: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], words: Words
) -> Iterator[tuple[Text, Mapping[str, Any]]]:
    """Name the rows of a table: the model, and the candidates by their numbers in the drawing."""
    yield say("**{name}**", name=words.the_model), original
    for k, one in enumerate(rows, start=1):
        name = f"{k}. {shorten(str(one['name']), LONGEST_TITLE)}"
        yield say(words.chosen, name=name) if one["name"] == found["chosen"] else name, one


def _level(found: Mapping[str, Any]) -> str:
    """Write the confidence level of the differences, in percent; results of before the level was shared tell none."""
    return f"{100 * float(found.get('confidence_level', 0.95)):.3g}"


def _candidates(named: Sequence[tuple[Text, Mapping[str, Any]]], found: Mapping[str, Any], words: Words) -> Table:
    heads = [(title, small.format(level=_level(found))) for title, small in words.compress_columns]
    columns = tuple(Column(title, small, number=k >= 5) for k, (title, small) in enumerate(heads))
    rows = tuple(_candidate(name, one, words) for name, one in named)
    return Table(columns, rows, words.compress_caption, "shipping")


def _candidate(name: Text, one: Mapping[str, Any], words: Words) -> tuple[Cell, ...]:
    steps = [shorten(str(step), LONGEST_STEP) for step in one.get("steps") or ()]
    # The original has neither: it is what the others are compared with.
    difference = estimate(one["difference"]) if one.get("difference") else None
    faster, smaller = (one.get(key) if difference else None for key in ("faster", "smaller"))
    return (
        Cell(name, joined(steps, words.semicolon) if steps else ""),
        _gate(one, words) if difference else Cell(),
        Cell(shorten(str(one["title"]), LONGEST_TITLE), words.precision(str(one["precision"]))),
        _share(one["accuracy"], words),
        Cell(words.signed_points(difference.value), words.signed_range(difference)) if difference else Cell(),
        _number(one["p50_ms"], 1, words),
        Cell(words.times(float(faster))) if faster is not None else Cell(),
        _number(one.get("size_bytes"), 1e6, words),
        Cell(words.times(float(smaller))) if smaller is not None else Cell(),
    )


def _gate(one: Mapping[str, Any], words: Words) -> Cell:
    verdict = str(one["verdict"])
    why = shorten(str(one.get("why") or ""), LONGEST_WHY) if verdict != "passed" else ""
    small = [text for text in (words.on_front if one["front"] else "", why) if text]
    return Cell(words.verdict_words.get(verdict, verdict), joined(small, words.semicolon) if small else "")


def _more(named: Sequence[tuple[Text, Mapping[str, Any]]], words: Words) -> Fold:
    scores = ("ece", "log_loss")
    heads = (*words.more_columns, *((words.score(name)[0], "") for name in scores))
    columns = tuple(Column(title, small, number=0 < k < 5) for k, (title, small) in enumerate(heads))
    rows = tuple(
        (
            Cell(name),
            _number(one.get("p95_ms"), 1, words),
            _number(one.get("per_second"), 1, words),
            _number(one.get("multiply_adds"), 1e6, words),
            _number(one.get("parameters"), 1e6, words),
            *(Cell(*words.value_of(key, estimate(one[key]))) if one.get(key) else Cell() for key in scores),
        )
        for name, one in named
    )
    return Fold(words.more_summary, (Table(columns, rows, look="shipping"),))
