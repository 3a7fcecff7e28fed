"""The steering slider in real headless Chromium: by mouse, keyboard, without scripts, from a folder, on a phone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.site.conftest import name

STRENGTH = ".steer-strength"


def test_it_grows_from_the_table_and_says_so_without_complaint(page: Any, server: Any) -> None:
    page.open(server())
    assert page.slider("it.state") == "idle"
    assert page.slider("it.ladders.map(one => one.clips.length)") == [5, 5]
    assert page.slider("it.clip.percent") == 0
    assert len(page.driver.find_elements("css selector", ".steer-all audio[controls]")) == 10
    assert page.find(STRENGTH).get_attribute("max") == "4"  # five clips, nothing between them
    assert page.complaints() == []


def test_play_really_sounds_and_time_advances(page: Any, server: Any) -> None:
    page.open(server())
    page.play()
    before = page.slider("it.position")
    page.until("it.loudness > 0.005")
    time.sleep(0.4)
    assert 0.2 < page.slider("it.position") - before < 2
    page.click(".steer-play")
    assert page.slider("it.state") == "ready"
    still = page.slider("it.position")
    time.sleep(0.2)
    assert page.slider("it.position") == still
    assert page.slider("it.loudness") == 0


def test_by_mouse_the_strength_changes_and_the_place_is_kept(page: Any, server: Any) -> None:
    page.open(server())
    page.play()
    page.until("it.position > 1")
    strength = page.find(STRENGTH)
    before, clock = page.slider("it.position"), time.monotonic()
    end = strength.size["width"] // 2 - 4
    ActionChains(page.driver).move_to_element_with_offset(strength, end, 0).click().perform()
    page.until("it.state === 'playing' && it.clip.percent === 100")
    page.until("it.loudness > 0.005")
    passed = time.monotonic() - clock
    assert before <= page.slider("it.position") <= before + passed + 0.3
    assert page.text(".steer-value") == "+100 %"


def test_by_keyboard(page: Any, server: Any) -> None:
    page.open(server())
    page.press(STRENGTH, " ")
    page.until("it.state === 'playing'")
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    assert page.slider("it.clip.percent") == 50
    page.press(STRENGTH, Keys.HOME)
    assert page.slider("it.clip.percent") == -100
    page.press(STRENGTH, Keys.END)
    assert page.slider("it.clip.percent") == 100
    page.press(STRENGTH, "b")
    assert page.slider("it.clip.percent") == 0
    assert page.find(".steer-zero").get_attribute("aria-pressed") == "true"
    page.press(STRENGTH, "b")
    assert page.slider("it.clip.percent") == 100
    page.press(STRENGTH, " ")
    page.until("it.state === 'ready'")


def test_what_a_screen_reader_hears(page: Any, server: Any) -> None:
    page.open(server())
    page.press(STRENGTH, Keys.END)
    spoken = page.find(STRENGTH).get_attribute("aria-valuetext")
    assert spoken == "+100 %, strength 3.33, BPM 164"
    assert page.find(STRENGTH).accessible_name == "tempo: strength"
    assert page.find(".steer-play").accessible_name == "Play"
    assert page.find(".steer-panel").aria_role == "group"
    assert page.find(".steer-status").aria_role == "status"


def test_the_last_touch_wins_when_clips_arrive_out_of_order(page: Any, server: Any) -> None:
    server.slow |= {server.name(0, 50): 1.0, server.name(0, 100): 0.1}
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


def test_the_loop_has_no_gap(page: Any, server: Any) -> None:
    page.open(server())
    page.play()
    span = page.slider("[it.engine.source.loopStart, it.engine.source.loopEnd, it.engine.source.buffer.duration]")
    assert span[1] - span[0] == pytest.approx(4.096, abs=0.002)
    samples = page.slider(
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
    page.until("it.position > 3.9", seconds=8)
    page.until("it.position < 0.5")
    page.until("it.loudness > 0.005")


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


def test_a_failed_fetch_is_said_and_can_be_tried_again(page: Any, server: Any) -> None:
    server.broken.add(server.name(0, 0))
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
    server.broken.clear()
    page.click(".steer-retry")
    page.until("it.state === 'playing' && it.position > 0.05")
    assert page.text(".steer-status") == ""


def test_a_failure_while_playing_stops_the_old_sound(page: Any, server: Any) -> None:
    server.broken.add(server.name(0, 50))
    page.open(server())
    page.play()
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    page.until("it.state === 'error'")
    assert page.slider("it.loudness") == 0
    assert "+50 %" in page.text(".steer-status")


def test_a_slow_clip_is_announced(page: Any, server: Any) -> None:
    server.slow[server.name(0, 0)] = 1.0
    page.open(server())
    page.click(".steer-play")
    page.until("it.querySelector('.steer-status').textContent.startsWith('Loading 0 %')")
    assert page.find(".steer-panel").get_attribute("aria-busy") == "true"
    page.until("it.state === 'playing'")
    assert page.text(".steer-status") == ""


def test_loudness_is_matched_and_shown(page: Any, server: Any) -> None:
    page.open(server("index.html#c=tempo&m=two-layers&a=50"))
    tools = "document.createElement('steer-slider').constructor.tools.matching"
    matched = page.slider(f"{tools}(it.ladder.clips, true)")
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


@pytest.mark.parametrize("boost", [True, False])
def test_matching_never_clips_nor_overdoes_it(page: Any, server: Any, boost: bool) -> None:
    page.open(server())
    odd = "[{percent: -1, lufs: -60, peak: 0.01}, {percent: 0, lufs: -20, peak: 0.5}, {percent: 1, lufs: -30, peak: 1}]"
    tools = "document.createElement('steer-slider').constructor.tools.matching"
    result = page.slider(f"{tools}({odd}, {'true' if boost else 'false'})")
    assert result["target"] == -26  # no more than 6 LU below the unsteered
    assert result["gains"] == pytest.approx([12 if boost else 0, -6, 0], abs=0.01)


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


def test_another_method_keeps_strength_and_place(page: Any, server: Any) -> None:
    page.open(server())
    page.press(STRENGTH, Keys.END)
    page.play()
    page.until("it.position > 1")
    page.press(".steer-method", "two")
    page.until("it.ladder.method === 'two-layers' && it.state === 'playing'")
    assert page.slider("it.clip.percent") == 100
    assert page.slider("it.position") >= 1


def test_ear_eye_and_number_move_together(page: Any, server: Any) -> None:
    page.open(server())
    page.press(STRENGTH, Keys.HOME)
    assert page.find(".steer-image").get_attribute("src").endswith(server.name(0, -100).replace("mp3", "webp"))
    assert "−100 %" in page.find(".steer-image").get_attribute("alt")
    assert "here 64" in page.find(".steer-curve svg").get_attribute("aria-label")
    assert "BPM 64" in page.text(".steer-numbers")
    page.play()
    left = page.slider("parseFloat(it.querySelector('.steer-cursor').style.left)")
    time.sleep(0.4)
    assert page.slider("parseFloat(it.querySelector('.steer-cursor').style.left)") > left + 3


def test_blind_listening_hides_the_answer_and_keeps_the_score(page: Any, server: Any) -> None:
    page.open(server())
    page.driver.execute_script("localStorage.clear(); document.querySelector('steer-slider').random = () => 0.99")
    page.click(".steer-blind")
    words = page.find("steer-slider").text
    assert "%" not in words.replace("steered", "")
    assert "layers" not in words
    assert not page.find(".steer-value").is_displayed()
    page.click(".steer-quiz button", 1)
    page.until("it.state === 'playing' && it.clip.percent === 100")
    page.click(".steer-quiz button", 3)  # faster
    assert "Right: tempo, two layers, +100 %. You have 1 of 1 right." in page.text(".steer-quiz")
    page.click(".steer-quiz button")
    page.click(".steer-quiz button", 2)  # slower
    assert "No: tempo, two layers, +100 %. You have 1 of 2 right." in page.text(".steer-quiz")
    page.click(".steer-blind")
    assert page.find(".steer-value").is_displayed()


def test_every_sound_tells_how_it_was_made(page: Any, server: Any) -> None:
    page.open(server())
    page.press(STRENGTH, Keys.END)
    page.click(".steer-made summary")
    made = page.text(".steer-made")
    for wanted in ("a <calm> & “odd” song", "seed 7", "all layers", "6, 7", "tada run notebooks/05.py -p seed 7"):
        assert wanted in made
    assert len(page.slider("it.clip.sha256")) == 64


def test_without_scripts_there_is_a_table_of_players(page: Any, server: Any) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.open(server())
    players = page.driver.find_elements("css selector", ".steer-ladder[open] audio[controls]")
    assert len(players) == 5
    assert all(player.is_displayed() for player in players)
    assert not page.driver.find_elements("css selector", ".steer-panel")
    assert "−100 %" in page.text(".steer-table")


def test_from_a_folder(page: Any, site: Path) -> None:
    page.open((site / "index.html").as_uri())
    page.play()
    page.press(STRENGTH, Keys.ARROW_RIGHT)
    page.until("it.state === 'playing' && it.clip.percent === 50 && it.engine.pair[0].src.includes('p050')")
    before = page.slider("it.position")
    page.until(f"it.position > {before + 0.3}")
    page.until("it.position > 3.8", seconds=8)
    page.until("it.position < 0.6 && it.position > 0.1")  # it looped
    page.press(STRENGTH, " ")
    page.until("it.state === 'ready'")
    assert page.driver.execute_script("return document.querySelector('steer-slider').engine.pair") is None
    assert page.complaints() == []


def test_from_a_folder_a_missing_clip_is_said(page: Any, site: Path, clips: Path) -> None:
    (site / "clips" / name(clips, 0, 50)).unlink()
    page.open((site / "index.html").as_uri())
    page.play()
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
    assert not page.driver.find_elements("css selector", ".steer-panel")
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
