import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from http.client import HTTPConnection
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from linnaeus.data.corrections import apply, read
from linnaeus.data.sources import open_source
from linnaeus.errors import SettingsError, SourceError
from linnaeus.records import Dataset, Example, Finding, Place, Predictions
from linnaeus.verbs.review import Case, Desk, Server, cases_of, disagreements, notes_of
from linnaeus.verbs.review.desk import RequestError
from linnaeus.verbs.review.pictures import Pictures


@pytest.fixture(scope="module")
def dataset(photos, tmp_path_factory):
    return open_source(photos, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def cases(dataset):
    ids = [example.id for example in dataset.examples]
    findings = [
        *(Finding("likely wrong label", (id,), "the model says red") for id in ids[:20]),
        Finding("near-duplicate", tuple(ids[30:33]), "three alike"),
        Finding("near-duplicate", tuple(ids[40:42]), "two alike"),
        Finding("dark", (ids[0], ids[50]), "two are dark"),
    ]
    table = {"id": ids[:20], "suggested": ["red"] * 20, "score": np.linspace(0.9, 0.1, 20)}
    return cases_of(findings, dataset, table=table)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "photos.corrections.csv"


@pytest.fixture
def desk(cases, dataset, path):
    return Desk(cases, dataset, path, by="me")


class Client:
    """Talk to a server as the page does."""

    def __init__(self, url):
        self.url = url

    def __call__(self, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | headers if data is not None else headers
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=20) as answer:
            found = answer.read()
            return json.loads(found) if answer.headers.get_content_type() == "application/json" else found

    def refused(self, path, body=None, **headers):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            self(path, body, **headers)
        with refusal.value as answer:
            return answer.code, json.loads(answer.read())["error"]


@pytest.fixture
def serve():
    servers = []

    def start(desk):
        server = Server(desk)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return Client(server.url)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(serve, desk):
    return serve(desk)


def shown(client, **asked):
    """List the cases of a view as the page gets them."""
    query = "&".join(f"{name}={value}" for name, value in asked.items()).replace(" ", "%20")
    view = client(f"view?{query}")
    return client(f"cases?view={view['view']}&start=0&count={view['total']}")["cases"]


# Who may ask


def test_the_address_is_of_this_machine_and_holds_a_secret(desk):
    with Server(desk) as one, Server(desk) as other:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", one.url)
        assert one.token != other.token
        assert one.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("token", ["", "wrong/", "../", "%2e%2e/"])
@pytest.mark.parametrize("way", ["", "overview", "picture?n=0"])
def test_without_the_secret_nothing_is_told(client, token, way):
    client.url = client.url[: client.url.index("/", 8) + 1] + token
    code, words = client.refused(way)
    assert code == 403 and "red" not in words


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7", "", "[::1]"]
)
def test_another_name_of_the_host_is_refused(client, host):
    assert client.refused("overview", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1"])
def test_names_of_this_machine_are_taken_through_a_forwarded_port_too(client, host):
    assert client("overview", Host=host)["name"] == "photos"


def test_a_page_from_elsewhere_cannot_decide(client, path):
    body = {"numbers": [0], "action": "exclude"}
    assert client.refused("decide", body, Origin="http://evil.example")[0] == 403
    assert client.refused("decide", body, **{"Content-Type": "text/plain"})[0] == 415
    assert not path.exists()


def test_the_page_asks_for_nothing_from_elsewhere(client):
    page = client("").decode()
    assert "<script nonce=" in page and "{nonce}" not in page
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)\w+:?//""", page) == []
    with urllib.request.urlopen(client.url) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("way", "body", "code"),
    [
        ("cases?view=99&start=0&count=1", None, 400), ("cases?view=x", None, 400), ("picture?n=9999", None, 400),
        ("picture?n=-1", None, 400), ("nowhere", None, 404), ("view?state=odd", None, 400), ("decide", {}, 400),
        ("decide", {"numbers": [0], "action": "burn"}, 400), ("decide", {"numbers": ["0"], "action": "keep"}, 400),
        ("decide", {"numbers": [], "action": "keep"}, 400), ("decide", {"numbers": [True], "action": "keep"}, 400),
        ("decide", {"numbers": [0], "action": "relabel", "new_label": "no class"}, 400), ("decide", [1], 400),
        ("decide", {"numbers": [0], "action": "relabel", "new_label": " ", "add_class": True}, 400),
        ("undo", {}, 400), ("accept", {"numbers": [22]}, 400), ("take-back", {"numbers": [0]}, 400), ("keep-only", {"n": 0}, 400),
    ],
)  # fmt: skip
def test_a_request_that_does_not_hold_gets_words_and_writes_nothing(client, path, way, body, code):
    assert client.refused(way, body)[0] == code
    assert not path.exists()


def test_a_body_too_large_or_of_unknown_length_is_not_read(client):
    where = client.url.split("/")
    for length, code in (("99999999999", 413), ("x", 411)):
        connection = HTTPConnection(where[2], timeout=10)
        connection.putrequest("POST", f"/{where[3]}/decide")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == code
        connection.close()


def test_a_port_that_is_taken_is_an_error_of_the_user(desk):
    with Server(desk) as server, pytest.raises(SettingsError, match="--port"):
        Server(desk, server.server_port)


# What is shown


def test_the_overview_counts_each_kind(client):
    found = client("overview")
    assert [(one["kind"], one["total"], one["decided"], one["set"]) for one in found["kinds"]] == [
        ("likely wrong label", 20, 0, False), ("near-duplicate", 5, 0, True), ("dark", 2, 0, False),
    ]  # fmt: skip
    assert found["classes"] == ["blau, kühl", "green", "red"]


def test_pages_follow_each_other_without_gap(client):
    view = client("view?kind=likely%20wrong%20label&order=name")
    assert view["total"] == 20
    pages = [client(f"cases?view={view['view']}&start={start}&count=8")["cases"] for start in (0, 8, 16, 24)]
    assert [len(page) for page in pages] == [8, 8, 4, 0]
    ids = [one["id"] for page in pages for one in page]
    assert ids == sorted(set(ids))
    numbers = client(f"numbers?view={view['view']}&start=8&count=8")["numbers"]
    assert numbers == [one["n"] for one in pages[1]]


def test_the_most_doubtful_come_first(client):
    scores = [one["score"] for one in shown(client, kind="likely wrong label", order="doubtful")]
    assert scores == sorted(scores)
    scores = [one["score"] for one in shown(client, kind="likely wrong label", order="sure")]
    assert scores == sorted(scores, reverse=True)


def test_a_view_stands_still_while_decisions_are_made(client):
    view = client("view?kind=dark&state=open")
    client("decide", {"numbers": [25], "action": "keep"})
    assert len(client(f"cases?view={view['view']}&start=0&count=9")["cases"]) == 2
    assert client("view?kind=dark&state=open")["total"] == 1
    assert client("view?kind=dark&state=decided")["total"] == 1


def test_a_picture_with_two_findings_is_one_picture_with_one_decision(client):
    dark = next(one for one in shown(client, kind="dark") if one["kind"] == "dark")
    done = client("decide", {"numbers": [dark["n"]], "action": "exclude"})
    assert [one["decided"] for one in done["kinds"]] == [1, 0, 1]
    assert len(done["decisions"]) == 2
    assert len(shown(client, state="all")) == 26


def test_copies_are_shown_together_and_whole(client):
    found = shown(client, kind="near-duplicate")
    assert [one["cluster_size"] for one in found] == [3, 3, 3, 2, 2]
    client("decide", {"numbers": [found[0]["n"]], "action": "keep"})
    assert len(shown(client, kind="near-duplicate", state="open")) == 5
    assert [one["id"] for one in client(f"set?n={found[4]['n']}")["cases"]] == [one["id"] for one in found[3:]]


def test_a_view_can_be_of_one_class(client):
    assert {one["label"] for one in shown(client, kind="likely wrong label", label="green")} == set()
    assert {one["label"] for one in shown(client, label="green", state="all")} == {"green"}


def test_pictures_come_upright_and_small(tmp_path):
    pixels = np.zeros((600, 900, 3), np.uint8)
    pixels[:, :450] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    kind, data = Pictures().get(Place(str(tmp_path / "x.jpg")))
    image = Image.open(BytesIO(data))
    assert kind == "image/jpeg" and image.size == (213, 320)
    assert np.asarray(image)[:100].mean() > 200 > 50 > np.asarray(image)[-100:].mean()


def test_tiny_pictures_come_without_loss(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / "raw").write_bytes(pixels.transpose(2, 0, 1).tobytes())
    kind, data = Pictures().get(Place(str(tmp_path / "raw"), 0, 192, "3x8x8"))
    assert kind == "image/png" and (np.asarray(Image.open(BytesIO(data))) == pixels).all()


def test_pictures_in_memory_stay_within_their_bounds(photos):
    pictures = Pictures(kept_bytes=5000)
    for file in sorted(photos.rglob("*.png")):
        pictures.get(Place(str(file)))
    assert 0 < pictures._bytes <= 5000
    assert pictures._bytes == sum(len(data) for _, data in pictures._kept.values())


def test_a_picture_that_cannot_be_read_is_told_and_can_be_excluded(tmp_path, serve):
    (tmp_path / "x.png").write_bytes(b"")
    data = Dataset("d", "d", (Example("x.png", Place(str(tmp_path / "x.png")), "a"),), ("a",))
    client = serve(Desk(cases_of([Finding("empty", ("x.png",), "0 bytes")], data), data, tmp_path / "c.csv"))
    assert client.refused("picture?n=0") == (404, "empty: 0 bytes")
    client("decide", {"numbers": [0], "action": "exclude"})
    assert [(one.id, one.hash) for one in read(tmp_path / "c.csv").standing] == [("x.png", "")]


# What is decided


@pytest.mark.parametrize(
    ("action", "label"), [("keep", ""), ("relabel", "green"), ("not-a-class", ""), ("exclude", "")]
)
def test_each_decision_is_in_the_table_when_it_is_acknowledged(client, path, dataset, action, label):
    done = client("decide", {"numbers": [1, 2], "action": action, "new_label": label})
    assert done["pictures"] == 2
    assert done["decisions"]["1"] == {"action": action, "new_label": label, "by": "me"}
    standing = read(path).standing
    assert [(one.action, one.new_label, one.label) for one in standing] == [(action, label, "blau, kühl")] * 2
    assert {one.id for one in standing} == {dataset.examples[n].id for n in (1, 2)}


def test_the_pictures_are_never_touched(client, photos, tree_hash):
    before = tree_hash(photos)
    client("decide", {"numbers": list(range(10)), "action": "exclude"})
    client("picture?n=0&full")
    assert tree_hash(photos) == before


def test_relabelling_to_the_label_it_has_is_keeping_it(client, path):
    client("decide", {"numbers": [0], "action": "relabel", "new_label": "blau, kühl"})
    assert [(one.action, one.new_label) for one in read(path).standing] == [("keep", "")]


def test_undo_takes_back_a_step_however_many_pictures_it_was_about(client, path):
    client("decide", {"numbers": [0], "action": "keep"})
    client("decide", {"numbers": [0, 1, 2], "action": "exclude"})
    assert client("undo", {})["pictures"] == 3
    assert [one.action for one in read(path).standing] == ["keep"]
    assert client("undo", {})["decisions"]["0"] is None
    assert read(path).standing == ()


def test_a_decision_can_be_taken_back_later(client, path):
    client("decide", {"numbers": [0], "action": "exclude"})
    client("decide", {"numbers": [1], "action": "exclude"})
    client("take-back", {"numbers": [0]})
    assert len(read(path).standing) == 1


def test_of_a_set_one_is_kept_and_the_others_excluded_in_one_step(client, path):
    client("keep-only", {"n": 21})
    assert [one.action for one in read(path).standing] == ["exclude", "keep", "exclude"]
    client("undo", {})
    assert read(path).standing == ()


def test_suggestions_are_accepted_in_one_step_where_there_are_any(client, path):
    assert client("accept", {"numbers": [0, 1, 21]})["pictures"] == 2
    assert [(one.action, one.new_label) for one in read(path).standing] == [("relabel", "red")] * 2
    assert "should be suggested" in client.refused("accept", {"numbers": [21]})[1]
    client("undo", {})
    assert read(path).standing == ()


def test_a_new_class_is_added_only_when_asked_for(client, path):
    body = {"numbers": [0], "action": "relabel", "new_label": "moss"}
    assert "should be a class" in client.refused("decide", body)[1]
    assert client("decide", body | {"add_class": True})["classes"][-1] == "moss"
    client("decide", {"numbers": [1], "action": "relabel", "new_label": "moss"})
    assert read(path).new_classes == ("moss",)


def test_several_labels_are_taken_where_pictures_have_several(cases, dataset, path):
    desk = Desk(cases, replace(dataset, multilabel=True), path)
    desk.decide([0], "relabel", "green|red")
    with pytest.raises(RequestError, match="should be a class"):
        desk.decide([1], "relabel", "green|moss")


def test_everything_is_there_again_when_the_page_is_opened_anew(client, serve, cases, dataset, path):
    client("decide", {"numbers": [0, 1], "action": "exclude"})
    again = serve(Desk(cases, dataset, path, by="me"))
    assert again("overview")["kinds"][0]["decided"] == 2
    assert again("undo", {})["pictures"] == 2


def test_a_decision_made_before_a_picture_was_renamed_is_shown(dataset, path):
    def desk(id):
        example = replace(dataset.examples[0], id=id)
        case = Case(id, example.place, example.label, "dark", "dark", hash="abc")
        return Desk([case], replace(dataset, examples=(example,)), path, by="me")

    desk("old.png").decide([0], "exclude")
    renamed = desk("new.png")
    assert renamed.overview()["kinds"][0]["decided"] == 1
    renamed.undo()
    assert renamed.overview()["kinds"][0]["decided"] == 0


def test_two_servers_at_once_see_and_undo_only_their_own_person(serve, cases, dataset, path):
    anna, ben = (serve(Desk(cases, dataset, path, by=name)) for name in ("anna", "ben"))
    anna("decide", {"numbers": [0], "action": "keep"})
    ben("decide", {"numbers": [1], "action": "exclude"})
    assert anna("overview")["kinds"][0]["decided"] == 2
    anna("undo", {})
    assert [one.by for one in read(path).standing] == ["ben"]
    assert "nothing" not in ben("overview") and ben("overview")["kinds"][0]["decided"] == 1


def test_decisions_from_many_connections_at_once_all_count(client, path):
    threads = [
        threading.Thread(target=client, args=("decide", {"numbers": [n], "action": "exclude"})) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(path).standing) == 20
    assert client("overview")["kinds"][0]["decided"] == 20


def test_a_busy_server_lets_many_connections_wait(desk):
    with Server(desk) as server, contextlib.ExitStack() as waiting:
        for _ in range(64):
            waiting.enter_context(socket.create_connection(server.server_address, timeout=0.5))


def test_a_full_disk_is_told_and_nothing_counts_as_decided(client, path, monkeypatch):
    client("decide", {"numbers": [0], "action": "keep"})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("linnaeus.data.diary._write_all", full)
    assert client.refused("decide", {"numbers": [1], "action": "keep"}) == (
        507, "nothing was saved: No space left on device",
    )  # fmt: skip
    assert path.read_bytes() == before
    assert client("overview")["kinds"][0]["decided"] == 1


def test_a_table_that_cannot_be_written_is_told_at_the_start(cases, dataset, tmp_path):
    from linnaeus.verbs.review import review

    with pytest.raises(SettingsError, match="no such folder"):
        review(cases, dataset, tmp_path / "no" / "c.csv")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 not a table")
    with pytest.raises(SourceError, match="should be a table of corrections"):
        review(cases, dataset, tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8 not a table"


@pytest.mark.parametrize(("screen", "wanted", "opened"), [(":0", True, 1), ("", True, 0), (":0", False, 0)])
def test_a_browser_is_opened_only_where_there_is_a_screen(cases, dataset, path, monkeypatch, screen, wanted, opened):
    from linnaeus.verbs.review import review

    seen, done = [], threading.Event()
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("webbrowser.open", lambda url: seen.append(url) or done.set())

    def stop(*_, **__):
        done.wait(5 * opened)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    assert review(cases, dataset, path, open_browser=wanted)["kinds"][0]["decided"] == 0
    assert len(seen) == opened


SERVE = """
import signal, sys
# A process that was started in the background of a shell has Ctrl-C turned off.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from linnaeus.data.sources import open_source
from linnaeus.records import Finding
from linnaeus.talk import Talk
from linnaeus.verbs.review import cases_of, review
dataset = open_source(sys.argv[1], cache_dir=Path(sys.argv[1]))
cases = cases_of([Finding("dark", (example.id,), "dark") for example in dataset.examples], dataset)
talk = Talk(say=lambda words: print(words, flush=True))
print(review(cases, dataset, Path(sys.argv[2]), open_browser=False, talk=talk))
"""


@pytest.fixture
def process(photos, path):
    started = subprocess.Popen([sys.executable, "-c", SERVE, str(photos), str(path)], stdout=subprocess.PIPE, text=True)
    url = re.search(r"http://\S+", started.stdout.readline())[0]
    yield started, Client(url)
    started.kill()
    started.wait()
    started.stdout.close()


def test_a_server_killed_in_the_middle_of_decisions_loses_none_that_it_acknowledged(process, path):
    server, client = process
    acknowledged, enough = [], threading.Event()

    def decide():
        for n in range(72):
            try:
                client("decide", {"numbers": [n], "action": "exclude"})
            except OSError:
                return
            acknowledged.append(n)
            if n == 30:
                enough.set()

    thread = threading.Thread(target=decide)
    thread.start()
    assert enough.wait(30)
    server.send_signal(signal.SIGKILL)
    thread.join()
    found = read(path)
    assert 31 <= len(acknowledged) <= len(found.standing) <= len(acknowledged) + 1
    assert found.problems == ()


def test_ctrl_c_ends_it_with_an_account(process, path):
    server, client = process
    client("decide", {"numbers": [0, 1], "action": "keep"})
    server.send_signal(signal.SIGINT)
    told = server.stdout.read()
    assert server.wait(20) == 0
    assert "stopped." in told and "'decided': 2" in told and os.fspath(path) in told


def test_what_was_decided_corrects_the_data(client, path, dataset):
    from linnaeus.data.decode import read_bytes
    from linnaeus.data.diary import content_hash

    client("decide", {"numbers": [0], "action": "relabel", "new_label": "red"})
    client("decide", {"numbers": [1, 2], "action": "exclude"})
    hashes = [content_hash(read_bytes(example.place)) for example in dataset.examples]
    corrected, _ = apply(dataset, hashes, read(path))
    assert len(corrected) == len(dataset) - 2
    assert corrected.examples[0].label == "red"


# What becomes a case


def test_findings_about_no_picture_become_notes(dataset):
    findings = [
        Finding("empty class", ("moss",), "class 'moss' holds no picture"),
        Finding("dark", ("red/001.png",), "x"),
    ]
    assert [case.id for case in cases_of(findings, dataset)] == ["red/001.png"]
    assert notes_of(findings, dataset) == ["empty class: class 'moss' holds no picture"]


def test_clusters_of_the_table_part_a_finding_about_many_copies(dataset):
    ids = [example.id for example in dataset.examples[:5]]
    table = {"id": ids, "cluster": ["1", "1", "2", "2", "3"]}
    cases = cases_of([Finding("near-duplicates", tuple(ids), "five")], dataset, table=table)
    assert [case.cluster for case in cases] == ["1", "1", "2", "2", "set 1"]


def test_gaps_in_the_table_are_no_suggestions(dataset):
    id = dataset.examples[0].id
    table = {"id": [id], "suggested": [float("nan")], "score": [float("nan")]}
    (case,) = cases_of([Finding("dark", (id,), "x")], dataset, table=table)
    assert (case.suggested, case.score, case.cluster) == ("", None, "")


def test_where_a_model_disagrees_the_most_doubtful_label_comes_first():
    probabilities = np.array([[0.3, 0.7], [0.9, 0.1], [0.05, 0.95], [0.2, 0.8]])
    part = Predictions(probabilities, np.array([0, 0, 0, -1]), ("w", "x", "y", "z"), ("a", "b"))
    findings, table = disagreements([part])
    assert [one.ids for one in findings] == [("y",), ("w",)]
    assert table == {"id": ["y", "w"], "suggested": ["b", "b"], "score": [0.05, 0.3]}
