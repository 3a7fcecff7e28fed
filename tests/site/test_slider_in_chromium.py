"""The steering slider in real headless Chromium: by mouse, keyboard, without scripts, from a folder, on a phone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.site.conftest import name

STRENGTH = ".steer-strength"
TOOLS = "document.createElement('steer-slider').constructor.tools.matching"


@pytest.fixture
def one(page: Any, server: Any) -> Any:
    """The open page with one slider."""
    page.open(server())
    return page


def test_it_grows_from_the_table_and_says_so_without_complaint(one: Any) -> None:
    assert one.slider("it.state") == "idle"
    assert one.slider("it.ladders.map(one => one.clips.length)") == [5, 5]
    assert one.slider("it.clip.percent") == 0
    assert len(one.all(".steer-all audio[controls]")) == 10
    assert one.find(STRENGTH).get_attribute("max") == "4"  # five clips, nothing between them
    one.press(STRENGTH, Keys.END)
    assert one.find(STRENGTH).get_attribute("aria-valuetext") == "+100 %, strength 3.33, BPM 164"
    assert one.find(STRENGTH).accessible_name == "tempo: strength"
    assert one.find(".steer-play").accessible_name == "Play"
    assert one.find(".steer-panel").aria_role == "group"
    assert one.find(".steer-status").aria_role == "status"
    one.click(".steer-made summary")
    made = one.text(".steer-made")
    for wanted in ("a <calm> & “odd” song", "seed 7", "all layers", "6, 7", "tada run notebooks/05.py -p seed 7"):
        assert wanted in made, "every sound tells how it was made"
    assert len(one.slider("it.clip.sha256")) == 64
    assert one.complaints() == []


def test_play_really_sounds_and_time_advances(one: Any) -> None:
    one.play()
    before = one.slider("it.position")
    one.until("it.loudness > 0.005")
    time.sleep(0.4)
    assert 0.2 < one.slider("it.position") - before < 2
    one.click(".steer-play")
    assert one.slider("it.state") == "ready"
    still = one.slider("it.position")
    time.sleep(0.2)
    assert one.slider("it.position") == still
    assert one.slider("it.loudness") == 0


def test_by_mouse_strength_and_method_change_and_the_place_is_kept(one: Any) -> None:
    one.play()
    one.until("it.position > 1")
    strength = one.find(STRENGTH)
    before, clock = one.slider("it.position"), time.monotonic()
    end = strength.size["width"] // 2 - 4
    ActionChains(one.driver).move_to_element_with_offset(strength, end, 0).click().perform()
    one.until("it.state === 'playing' && it.clip.percent === 100")
    one.until("it.loudness > 0.005")
    passed = time.monotonic() - clock
    assert before <= one.slider("it.position") <= before + passed + 0.3
    assert one.text(".steer-value") == "+100 %"
    one.until("1 < it.position && it.position < 2")
    one.press(".steer-method", "two")
    one.until("it.ladder.method === 'two-layers' && it.state === 'playing'")
    assert one.slider("it.clip.percent") == 100
    assert one.slider("it.position") >= 1


def test_by_keyboard(one: Any) -> None:
    one.press(STRENGTH, " ")
    one.until("it.state === 'playing'")
    one.press(STRENGTH, Keys.ARROW_RIGHT)
    assert one.slider("it.clip.percent") == 50
    one.press(STRENGTH, Keys.HOME)
    assert one.slider("it.clip.percent") == -100
    one.press(STRENGTH, Keys.END)
    assert one.slider("it.clip.percent") == 100
    one.press(STRENGTH, "b")
    assert one.slider("it.clip.percent") == 0
    assert one.find(".steer-zero").get_attribute("aria-pressed") == "true"
    one.press(STRENGTH, "b")
    assert one.slider("it.clip.percent") == 100
    one.press(STRENGTH, " ")
    one.until("it.state === 'ready'")


def test_the_last_touch_wins_when_clips_arrive_out_of_order(page: Any, server: Any, clips: Path) -> None:
    server.slow |= {name(clips, 0, 50): 1.0, name(clips, 0, 100): 0.1}
    page.open(server())
    page.play()
    page.press(STRENGTH, Keys.ARROW_RIGHT)  # slow to come
    page.press(STRENGTH, Keys.ARROW_RIGHT)  # here first
    page.until("it.state === 'playing' && it.engine.source !== null")
    time.sleep(1.3)
    assert page.slider("it.clip.percent") == 100
    assert page.text(".steer-value") == "+100 %"
    same = "fetch(it.clip.url).then(a => a.arrayBuffer()).then(b => new AudioContext().decodeAudioData(b))"
    compare = f"{same}.then(b => arguments[0](b.getChannelData(0).every((x, i) => x === heard[i])))"
    script = "const it = document.querySelector('steer-slider'), heard = it.engine.source.buffer.getChannelData(0);"
    assert page.driver.execute_async_script(script + compare)


def test_the_loop_has_no_gap(one: Any) -> None:
    one.play()
    span = one.slider("[it.engine.source.loopStart, it.engine.source.loopEnd, it.engine.source.buffer.duration]")
    assert span[1] - span[0] == pytest.approx(4.096, abs=0.002)
    samples = one.slider(
        "Array.from(it.engine.source.buffer.getChannelData(0)).slice("
        "Math.round(it.engine.source.loopStart * it.engine.source.buffer.sampleRate), "
        "Math.round(it.engine.source.loopEnd * it.engine.source.buffer.sampleRate))"
    )
    quiet = 0
    for value in samples:  # the padding of an encoder is silence at the start of what loops
        if abs(value) > 0.002:
            break
        quiet += 1
    assert quiet < 0.012 * len(samples) / 4.096
    one.until("it.position > 3.9")
    one.until("it.position < 0.5")
    one.until("it.loudness > 0.005")


def test_one_sound_at_a_time(page: Any, server: Any) -> None:
    page.open(server("two.html"))
    page.play(0)
    page.play(1)
    assert page.slider("it.state", 0) == "ready"
    page.driver.execute_script("document.getElementById('plain').play()")
    page.until("it.state === 'ready'", 1)
    assert page.driver.execute_script("return !document.getElementById('plain').paused")
    page.play(0)
    assert page.driver.execute_script("return document.getElementById('plain').paused")


def test_a_failed_fetch_is_said_and_can_be_tried_again(page: Any, server: Any, clips: Path) -> None:
    server.broken |= {name(clips, 0, 0), name(clips, 0, -100)}
    page.open(server())
    page.click(".steer-play")
    page.until("it.state === 'error'")
    assert "could not be played: the server answered 503" in page.text(".steer-status")
    assert page.text(".steer-play") == "Play"
    page.press(STRENGTH, Keys.ARROW_RIGHT)  # another clip is not affected
    page.until("it.state === 'ready'")
    assert page.text(".steer-status") == ""
    page.press(STRENGTH, Keys.ARROW_LEFT)
    page.until("it.state === 'error'")
    server.broken.remove(name(clips, 0, 0))
    page.click(".steer-retry")
    page.until("it.state === 'playing' && it.position > 0.05")
    assert page.text(".steer-status") == ""
    page.press(STRENGTH, Keys.HOME)
    page.until("it.state === 'error'")
    assert page.slider("it.loudness") == 0, "the old sound stops"
    assert "−100 %" in page.text(".steer-status")


def test_a_slow_clip_is_announced(page: Any, server: Any, clips: Path) -> None:
    server.slow[name(clips, 0, 0)] = 1.0
    page.open(server())
    page.click(".steer-play")
    page.until("it.querySelector('.steer-status').textContent.startsWith('Loading 0 %')")
    assert page.find(".steer-panel").get_attribute("aria-busy") == "true"
    page.until("it.state === 'playing'")
    assert page.text(".steer-status") == ""


def test_loudness_is_matched_and_shown(page: Any, server: Any) -> None:
    page.open(server("index.html#c=tempo&m=two-layers&a=50"))
    matched = page.slider(f"{TOOLS}(it.ladder.clips, true)")
    levels = [a + b for a, b in zip(page.slider("it.ladder.clips.map(c => c.lufs)"), matched["gains"], strict=True)]
    assert levels == pytest.approx([matched["target"]] * 5)
    peaks = page.slider("it.ladder.clips.map(c => c.peak)")
    raised = [peak * 10 ** (gain / 20) for peak, gain in zip(peaks, matched["gains"], strict=True) if gain > 0]
    assert raised and max(raised) <= 0.981
    assert "LUFS as generated, matched to −" in page.text(".steer-numbers")
    quiet = page.slider("it.clip.lufs")
    assert f"−{abs(quiet):.1f} LUFS" in page.text(".steer-numbers")
    page.play()
    page.until("Math.abs(it.engine.gain.gain.value - 1) > 0.1")
    page.click(".steer-match")
    page.until("Math.abs(it.engine.gain.gain.value - 1) < 0.01")
    assert "matched" not in page.text(".steer-numbers")
    odd = "[{percent: -1, lufs: -60, peak: 0.01}, {percent: 0, lufs: -20, peak: 0.5}, {percent: 1, lufs: -30, peak: 1}]"
    for boost in (12, 0):
        result = page.slider(f"{TOOLS}({odd}, {'true' if boost else 'false'})")
        assert result["target"] == -26  # no more than 6 LU below the unsteered
        assert result["gains"] == pytest.approx([boost, -6, 0], abs=0.01)


def test_a_link_leads_to_a_sound_and_back(page: Any, server: Any) -> None:
    page.open(server("#c=tempo&m=two-layers&a=-50"))
    assert page.slider("[it.ladder.method, it.clip.percent]") == ["two-layers", -50]
    page.press(STRENGTH, Keys.END)
    assert page.driver.current_url.endswith("#c=tempo&m=two-layers&a=100")
    assert page.find(".steer-link").get_attribute("href").endswith("#c=tempo&m=two-layers&a=100")
    page.driver.execute_script("location.hash = 'c=tempo&m=all-layers&a=50'")
    page.until("it.ladder.method === 'all-layers' && it.clip.percent === 50")
    page.open(server("two.html#c=tempo&m=all-layers&a=-100&s=1"))
    assert page.slider("it.clip.percent", 0) == 0
    assert page.slider("it.clip.percent", 1) == -100
    assert page.slider("document.querySelectorAll('steer-slider')[1].getBoundingClientRect().top < innerHeight") is True


def test_ear_eye_and_number_move_together(one: Any, clips: Path) -> None:
    one.press(STRENGTH, Keys.HOME)
    assert one.find(".steer-image").get_attribute("src").endswith(name(clips, 0, -100).replace("mp3", "webp"))
    assert "−100 %" in one.find(".steer-image").get_attribute("alt")
    assert "here 64" in one.find(".steer-curve svg").get_attribute("aria-label")
    assert "BPM 64" in one.text(".steer-numbers")
    one.play()
    left = one.slider("parseFloat(it.querySelector('.steer-cursor').style.left)")
    time.sleep(0.4)
    assert one.slider("parseFloat(it.querySelector('.steer-cursor').style.left)") > left + 3


def test_blind_listening_hides_the_answer_and_keeps_the_score(one: Any) -> None:
    one.driver.execute_script("localStorage.clear(); document.querySelector('steer-slider').random = () => 0.99")
    one.click(".steer-blind")
    words = one.find("steer-slider").text
    assert "%" not in words.replace("steered", "")
    assert "layers" not in words
    assert not one.find(".steer-value").is_displayed()
    one.click(".steer-quiz button", 1)
    one.until("it.state === 'playing' && it.clip.percent === 100")
    one.click(".steer-quiz button", 3)  # faster
    assert "Right: tempo, two layers, +100 %. You have 1 of 1 right." in one.text(".steer-quiz")
    one.click(".steer-quiz button")
    one.click(".steer-quiz button", 2)  # slower
    assert "No: tempo, two layers, +100 %. You have 1 of 2 right." in one.text(".steer-quiz")
    one.click(".steer-blind")
    assert one.find(".steer-value").is_displayed()


def test_without_scripts_there_is_a_table_of_players(page: Any, server: Any) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open(server())
    players = page.all(".steer-ladder[open] audio[controls]")
    assert len(players) == 5
    assert all(player.is_displayed() for player in players)
    assert not page.all(".steer-panel")
    assert "−100 %" in page.text(".steer-table")


def test_from_a_folder(page: Any, site: Path, clips: Path) -> None:
    (site / "clips" / name(clips, 0, 100)).unlink()
    page.open((site / "index.html").as_uri())
    page.play()
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    page.until("it.state === 'playing' && it.clip.percent === 50 && it.engine.pair[0].src.includes('p050')")
    before = page.slider("it.position")
    page.until(f"it.position > {before + 0.3}")
    page.until("it.position > 3.8")
    page.until("it.position < 0.6 && it.position > 0.1")  # it looped
    page.press(STRENGTH, " ")
    page.until("it.state === 'ready'")
    assert page.driver.execute_script("return document.querySelector('steer-slider').engine.pair") is None
    assert not [one for one in page.complaints() if name(clips, 0, 100) not in one]
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    page.until("it.state === 'error'")
    assert "missing or damaged" in page.text(".steer-status")


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone(page: Any, server: Any, width: int) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.open(server())
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    for button in (".steer-play", ".steer-zero"):
        assert page.find(button).size["height"] >= 44
    page.play()
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    page.until("it.state === 'playing' && it.clip.percent === 50")


def test_a_table_without_clips_stays_a_table(page: Any, site: Path, server: Any) -> None:
    (site / "empty.html").write_text((site / "index.html").read_text().replace("tr data-percent", "tr data-other"))
    page.open(server("empty.html"))
    assert not page.all(".steer-panel")
    assert page.complaints() == []


AXE = Path(__file__).parents[2] / "_build" / "axe" / "package" / "axe.min.js"


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core, see ci/axe.py")
@pytest.mark.parametrize("blind", [False, True])
def test_axe_finds_nothing(page: Any, server: Any, blind: bool) -> None:
    page.open(server("two.html"))
    page.click(".steer-blind" if blind else ".steer-all summary")
    page.driver.execute_script(AXE.read_text())
    script = "axe.run().then(found => arguments[0](found.violations.map(one => one.id + ' ' + one.nodes[0].html)))"
    assert page.driver.execute_async_script(script) == []
    bad = "document.querySelector('.steer-strength').removeAttribute('aria-label')"
    page.driver.execute_script(bad)  # and it would find something
    assert any(one.startswith("label") for one in page.driver.execute_async_script(script)) is not blind
