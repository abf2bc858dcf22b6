"""examples/ at work: the page in a real browser, the client in JavaScript in node, the one in Python."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypnostream.bridges.publisher import Publisher
from tests.bridges.chromium import CHROMIUM, Page, page
from tests.bridges.web_bridge import WITHIN_S, stage, web_bridge
from tests.documentation import ROOT

for extra in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(extra, reason="needs the web extra")

NODE = shutil.which("node")
EXAMPLES = ROOT / "examples"
HOSTILE = "<img src=x onerror=\"document.title='taken over'\">"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", model_hash="0" * 64, backend="none", utc_offset_s=1.8e9) as publisher:
        yield publisher


def text(shown: Page, element: str) -> str:
    return str(shown.value(f"document.getElementById('{element}').innerText"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_the_dashboard_shows_what_is_published(publisher: Publisher, tmp_path: Path) -> None:
    with web_bridge(publisher, "--files", str(EXAMPLES)) as place:
        for epoch in range(40):
            publisher.publish(stage(epoch), 30.0 * (epoch + 1))
        publisher.status("source_stalled", 1200.0, subject="amplifier", detail=HOSTILE)
        with page(f"http://{place}/dashboard.html", tmp_path / "profile") as shown:
            shown.wait_for("window.epochs === undefined && typeof epochs === 'object' && epochs.size === 40")
            publisher.heartbeat(1201.0)
            shown.wait_for("stream.alive")
            assert shown.value("[...epochs.values()].map(m => m.stage ?? '-').join(' ')") == " ".join(
                stage(epoch).stage or "-" for epoch in range(40)
            )
            # What a person sees.
            assert text(shown, "stage") == "–"  # epoch 39 is one without data
            assert text(shown, "sure") == "no data"
            assert text(shown, "sensors").split() == ["eog", "flat"]
            assert "source stalled · amplifier · <img" in text(shown, "notices")
            assert shown.value("document.title") == "Hypnostream"
            assert shown.wait_for("document.getElementById('alive').className") == "yes"
            colours = shown.wait_for(COLOURS)
            assert colours > 6  # five stages, and the grey of no data
            # What comes live.
            publisher.publish(stage(41, final=False), 1231.0)
            assert shown.wait_for("forming?.stage") == "R"
            assert text(shown, "sure") == "80 % sure, after 30 s"
            publisher.publish(stage(41), 1260.0)
            shown.wait_for("epochs.has(41) && forming === null")
            assert text(shown, "lost") == "nothing lost"


COLOURS = """(() => {
  const canvas = document.getElementById("hypnogram")
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)
  const counts = new Map()
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1)
  return [...counts.values()].filter(count => count > 200).length
})()"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_a_page_of_another_site_cannot_read_the_night(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    for name in ("hypnostream.js", "dashboard.html"):
        shutil.copy(EXAMPLES / name, tmp_path / "pages")
    with web_bridge(publisher) as place, web_bridge(publisher, "--files", str(tmp_path / "pages")) as elsewhere:
        publisher.publish(stage(0), 30.0)
        url = f"http://{elsewhere}/dashboard.html?ws://{place}/messages"
        with page(url, tmp_path / "profile") as shown:
            shown.wait_for("typeof stream === 'object' && stream._wait_s > 1")  # it has tried again and again
            assert shown.value("[stream.connections, epochs.size]") == [0, 0]


SCRIPT = """
const {Hypnostream} = require(process.argv[1])
const stream = new Hypnostream(process.argv[2], {topics: ["epoch", "status"], longestWait_s: 0.5})
const say = (...words) => console.log(...words)
stream.onsession = () => say("session")
stream.onepoch = message => say("epoch", message.seq, message.stage ?? message.absent_reason)
stream.onstatus = message => { say("status", message.state); throw new Error("a page's mistake") }
stream.onlost = (topic, count) => say("lost", topic, count)
stream.onalive = alive => say("alive", alive)
stream.onclose = reason => say("closed")
console.error = () => {}
"""


OPTIONS = ("--no-warnings", "--experimental-websocket")  # node 22 needs neither


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_the_client_in_javascript_reconnects_and_tells_each_message_once(publisher: Publisher) -> None:
    assert NODE is not None
    listen = ["-e", SCRIPT, str(EXAMPLES / "hypnostream.js")]
    with web_bridge(publisher) as place:
        command = [NODE, *OPTIONS, *listen, f"ws://{place}/messages"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = iter(process.stdout.readline, "")
        try:
            publisher.publish(stage(0), 30.0)
            assert [next(said).split() for _ in range(3)] == [["session"], ["epoch", "0", "W"], ["alive", "true"]]
            publisher.publish(stage(1, final=False), 31.0)  # of no topic that it asked for
            publisher.status("source_stalled", 32.0)
            publisher.publish(stage(1), 60.0)
            assert [next(said).strip() for _ in range(2)] == ["status source_stalled", "epoch 1 N1"]
        except BaseException:
            process.kill()
            raise
    try:
        assert next(said).strip() == "closed"
        publisher.publish(stage(2), 90.0)  # to nobody: neither bridge nor page is there
        with web_bridge(publisher, "--address", place):
            publisher.publish(stage(4), 120.0)
            publisher.heartbeat(121.0)
            back = [line.strip() for line in iter(lambda: next(said), "epoch 3 N3\n")]
        assert [line for line in back if line.startswith("lost")] == ["lost epoch 1"]
        assert not [line for line in back if line.startswith("epoch")]
    finally:
        process.kill()
        process.communicate()


def test_the_python_example_says_stages(publisher: Publisher) -> None:
    program = (EXAMPLES / "watch.py").read_text().replace("tcp://127.0.0.1:5556", publisher.address)
    assert publisher.address in program
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert publisher.wait_for_subscriber(WITHIN_S, "heartbeat")
        publisher.publish(stage(0), 30.0)
        assert process.stdout is not None
        assert process.stdout.readline() == "0 W 80%\n"
    finally:
        process.kill()
        process.communicate()
