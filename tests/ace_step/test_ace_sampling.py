"""ACE-Step's sampling: schedules, solver steps and guidance, and whole runs of the public sources."""

from __future__ import annotations

import math

import pytest
import torch

from parity import assert_parity, given, meta, padded, tensors, transformer
from tada.models import hub
from tada.models.ace_step import sampling as flow
from tada.models.ace_step.adapter import AceStep, AceStepSampling
from tada.models.ace_step.files import Parts
from tada.models.context import Context, Stream
from tada.models.run import Latents, cfg

NAME = "parity_a_sampler"
LOOP = "parity_a_loop"


def recorded(solver, sigmas, velocities, x, mix):
    """The latents that each evaluation of the velocity is asked about, and its noise level."""
    asked = []

    def velocity(x, sigma, i):
        asked.append((x, sigma))
        return velocities[i] if i < len(velocities) else torch.zeros_like(x)

    *_, x = solver(x, velocity, sigmas, mix)
    return [x for x, _ in asked[1:]] + [x], [sigma for _, sigma in asked]


# ---- parity


@pytest.mark.parametrize("steps", meta(NAME)["steps"])
def test_schedule_parity(steps):
    sigmas = flow.schedule(steps)
    assert_parity(sigmas, NAME, f"euler.{steps}.sigmas", 1e-6)
    assert_parity(1000 * sigmas[:-1], NAME, f"euler.{steps}.timesteps", 1e-3)
    for solver in (flow.euler, flow.heun):
        _, asked = recorded(solver, sigmas.tolist(), [], torch.zeros(1, 1, 1, 1), flow.omega_mix(0.0))
        assert_parity(1000 * torch.tensor(asked), NAME, f"{solver.__name__}.{steps}.timesteps", 1e-3)


def test_schedule_is_the_shifted_flow_matching_scheduler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(13)
    torch.testing.assert_close(flow.schedule(13), scheduler.sigmas, atol=1e-6, rtol=0)


@pytest.mark.parametrize("omega", meta(NAME)["omegas"])
@pytest.mark.parametrize("solver", [flow.euler, flow.heun])
def test_solver_parity(solver, omega):
    sigmas = flow.schedule(meta(NAME)["step_n"]).tolist()
    mix = flow.omega_mix(omega, batch_mean=True)
    latents, _ = recorded(solver, sigmas, given(NAME, "velocity"), given(NAME, "sample"), mix)
    for i in range(3):
        assert_parity(latents[i], NAME, f"{solver.__name__}.omega_{omega:.0f}.step_{i}", 1e-5)


def test_guidance_parity():
    values, average = meta(NAME), None
    for i in range(3):
        cond, uncond = given(NAME, "cond")[i], given(NAME, "uncond")[i]
        v, average = flow.apg(cond, uncond, values["guidance"], average)
        assert_parity(v, NAME, f"apg.step_{i}", 1e-5)
        assert_parity(cfg(cond, uncond, values["guidance"]), NAME, f"cfg.step_{i}", 1e-5)
        assert_parity(flow.cfg_star(cond, uncond, values["guidance"], i), NAME, f"cfg_star.step_{i}", 1e-5)


# ---- whole runs


@pytest.fixture(scope="module")
def model():
    """ACE-Step with the fixture's transformer; the parts that no run needs are left out."""

    class Nothing(torch.nn.Module):
        spatial_compression_ratio = upsampling = 1
        config = None

    parts = Parts(transformer(LOOP), Nothing(), Nothing(), Nothing(), None)
    return AceStep(parts, torch.device("cpu"), hub.About("parity"))


def run_inputs(case):
    kind = "nolyric" if case.get("no_lyrics") else "lyric"
    lyrics = Stream(given(LOOP, f"{kind}_ids"), given(LOOP, f"{kind}_mask").bool())
    text, weak = (padded(given(LOOP, n), given(LOOP, "text_mask")) for n in ("text_states", "text_states_erg"))
    context = Context(
        ("",) * 2, (None,) * 2, ("",) * 2, {"text": text, "lyrics": lyrics}, {"text": weak, "lyrics": lyrics}
    )
    settings = AceStepSampling(
        steps=case["infer_steps"],
        guidance=case["guidance_scale"],
        method=case["cfg_type"],
        interval=case["guidance_interval"],
        decay=case["guidance_interval_decay"],
        lowest=case["min_guidance_scale"],
        omega=case["omega_scale"],
        batch_mean=True,
        erg_tag=case["use_erg_tag"],
        erg_lyric=case["use_erg_lyric"],
        erg_diffusion=case["use_erg_diffusion"],
        solver="heun" if case["scheduler_type"] == "heun" else "euler",
    )
    return context, Latents(tensors(LOOP)["out.default.noise"], tuple(case["seeds"]), case["duration"]), settings


def special(case):
    return case["scheduler_type"] == "pingpong" or "oss_steps" in case or "guidance_scale_text" in case


@pytest.mark.parametrize("name", [n for n, case in meta(LOOP)["cases"].items() if not special(case)])
def test_run_parity(model, name):
    assert_parity(model.sample(*run_inputs(meta(LOOP)["cases"][name])).values, LOOP, f"{name}.final", 5e-4)


def test_every_step_of_the_default_run(model):
    context, noise, settings = run_inputs(meta(LOOP)["cases"]["default"])
    velocities = []
    with torch.no_grad(), model.running(context, noise, settings) as run:
        velocity = model.velocity(run)
        solve = flow.euler(
            noise.values,
            lambda x, sigma, i: velocities.append(velocity(x, sigma, i)) or velocities[-1],
            flow.schedule(10).tolist(),
            flow.omega_mix(10.0, batch_mean=True),
        )
        assert_parity(torch.stack(list(solve)), LOOP, "default.latents", 5e-4)
    assert_parity(torch.stack(velocities), LOOP, "default.guided", 5e-4)


def test_noise_parity(tiny_model):
    case = meta(LOOP)["cases"]["default"]
    theirs = tensors(LOOP)["out.default.noise"]  # of whole frames only, so that their clip is shorter than asked
    model = tiny_model("ace-step")
    assert theirs.shape[-1] == model.noise_shape(case["duration"])[-1] - 1
    seconds = theirs.shape[-1] * model.codec.hop / model.codec.vocoder.config.sampling_rate
    assert torch.equal(model.noise(case["seeds"], seconds).values, theirs)


# ---- what must hold beyond the fixtures


def test_heun_is_of_second_order():
    """On dx/dsigma = x the error falls with the square of the step length, for Euler with the step length."""

    def error(solver, steps):
        sigmas = torch.linspace(1, 0, steps + 1).tolist()
        *_, x = solver(torch.ones(1, 1, 1, 1), lambda x, sigma, i: x, sigmas, flow.omega_mix(0.0))
        return abs(float(x) - math.exp(-1))

    assert 1.7 < error(flow.euler, 20) / error(flow.euler, 40) < 2.3
    assert error(flow.heun, 40) < error(flow.euler, 40) / 5


@pytest.mark.parametrize("omega", [0.0, 7.0, 10.0])
def test_omega_keeps_the_mean_of_each_row_and_scales_the_rest(omega):
    change = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)) + torch.arange(3.0).view(3, 1, 1, 1)
    mixed = flow.omega_mix(omega)(change)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), change.mean((1, 2, 3)))
    weight = 0.9 + 0.2 / (1 + math.exp(-0.1 * omega))
    torch.testing.assert_close(mixed.flatten(1).std(1), weight * change.flatten(1).std(1))
    assert omega == 0 or not torch.allclose(flow.omega_mix(omega, batch_mean=True)(change), mixed, atol=1e-3)


def test_apg_changes_nothing_along_the_conditional_velocity():
    draw = torch.Generator().manual_seed(0)
    cond, uncond = torch.randn(2, 3, 4, 5, generator=draw), torch.randn(2, 3, 4, 5, generator=draw)
    v, _ = flow.apg(cond, uncond, 15.0, None)
    along = ((v - cond) * cond).sum((-2, -1))
    torch.testing.assert_close(along, torch.zeros(2, 3), atol=1e-4, rtol=0)
    assert ((v - cond).norm(dim=(-2, -1)) <= 14 * 2.5 + 1e-4).all()
    same, _ = flow.apg(cond, cond, 15.0, None)
    torch.testing.assert_close(same, cond)


def test_guided_steps_and_decay():
    assert flow.guided_steps(60, 0.5) == range(15, 45)
    assert flow.guided_steps(10, 1.0) == range(10)
    assert len(flow.guided_steps(10, 0.0)) == 0
    found = [flow.decayed(9.0, 3.0, decay, i, range(2, 7)) for decay, i in ((1.0, 2), (1.0, 4), (1.0, 6), (0.0, 6))]
    assert found == [9.0, 6.0, 3.0, 9.0]
    assert flow.decayed(9.0, 3.0, 1.0, 4, range(4, 5)) == 9.0
