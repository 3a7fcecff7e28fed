/* <steer-slider>: hear one clip at several strengths. It upgrades the table of native players inside it, which
   tada.slider writes and which stays at hand; it has no dependencies and fetches nothing but the clips.

   Only strengths that were rendered can be chosen. The place in the music is kept when the strength changes, and the
   last touch wins. On http the clips are decoded and loop without a gap (Web Audio). From file:// browsers let no script
   read a sound, so there the same clips play through two audio elements that take turns. */
(() => {
  "use strict";
  if (customElements.get("steer-slider")) return;

  const FADE = 0.015; // seconds, between two strengths
  const BOOST = 12; // dB that loudness matching adds at most
  const DROP = 6; // dB that it takes from the unsteered clip at most
  const CEILING = 0.98; // of full scale, that a louder clip may reach
  const NEAR = 2; // neighbours on each side that are fetched ahead
  const KEPT = 24; // decoded clips that a page keeps
  const LEAD = 1105; // samples that MP3 encoders put first, where the decoder leaves them

  // ---- plain functions

  const signed = (value, digits = 0) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  const decibel = (value) => 20 * Math.log10(Math.max(value, 1e-6));
  const strengthOf = (clip) => (clip.percent ? `${signed(clip.percent)} %` : "0 %, unsteered");
  const rawOf = (clip) => `strength ${String(Number(Number(clip.alpha).toPrecision(3))).replace("-", "−")}`;

  /** Gains in dB that bring the clips of a ladder to one loudness; none clips, none is boosted by more than BOOST. */
  function matching(clips, mayBoost) {
    const room = clips.map((clip) => (mayBoost ? Math.min(BOOST, Math.max(0, decibel(CEILING) - decibel(clip.peak))) : 0));
    const zero = (clips.find((clip) => !clip.percent) || clips[0]).lufs;
    const reach = Math.min(zero, ...clips.map((clip, i) => clip.lufs + room[i]));
    const target = Math.max(reach, zero - DROP);
    return { target, gains: clips.map((clip, i) => Math.min(target - clip.lufs, room[i])) };
  }

  /** `#c=tempo&m=caa&a=60` as an object, or null. */
  function parseLink(hash) {
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    return parts.has("c") && parts.has("a") ? Object.fromEntries(parts) : null;
  }

  function nearest(clips, percent) {
    const away = (clip) => Math.abs(clip.percent - percent);
    return clips.reduce((best, clip, i) => (away(clip) < away(clips[best]) ? i : best), 0);
  }

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  function drawn(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  // ---- one sound at a time on a page

  let sounding = null;
  function takeTurn(slider) {
    if (sounding && sounding !== slider) sounding.pause();
    sounding = slider;
    if (slider) document.querySelectorAll("audio").forEach((audio) => audio.pause());
  }
  document.addEventListener(
    "play",
    (event) => {
      takeTurn(null);
      document.querySelectorAll("audio").forEach((audio) => audio !== event.target && audio.pause());
    },
    true,
  );

  // ---- two ways to sound: decoded clips, and audio elements

  const decoded = new Map(); // URL -> promise of an AudioBuffer, oldest first
  let shared = null;

  function context() {
    if (navigator.audioSession) navigator.audioSession.type = "playback"; // iOS: sound with the mute switch on
    return (shared ??= new AudioContext());
  }

  function fetched(url) {
    const known = decoded.get(url);
    decoded.delete(url);
    const promise = known || fetchClip(url);
    decoded.set(url, promise);
    promise.catch(() => decoded.delete(url));
    for (const old of [...decoded.keys()].slice(0, Math.max(0, decoded.size - KEPT))) decoded.delete(old);
    return promise;
  }

  async function fetchClip(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return context().decodeAudioData(await answer.arrayBuffer());
  }

  /** Decoded clips, looped sample by sample. */
  class Decoded {
    constructor(seconds) {
      this.seconds = seconds;
    }
    mayBoost = true;
    prepare(url) {
      return fetched(url);
    }
    async start(url, gain, position) {
      const audio = context();
      await Promise.race([audio.resume(), new Promise((done) => setTimeout(done, 3000))]);
      if (audio.state !== "running") throw new Error("the browser did not allow sound yet, press play again");
      const buffer = await fetched(url);
      return () => this.#swap(audio, buffer, gain, position);
    }
    #swap(audio, buffer, gain, position) {
      const span = this.#span(buffer);
      const phase = (this.source ? this.position : position) % (span.end - span.start);
      this.stop();
      this.analyser ??= new AnalyserNode(audio, { fftSize: 2048 });
      this.analyser.connect(audio.destination);
      this.gain = new GainNode(audio, { gain: 0 });
      this.source = new AudioBufferSourceNode(audio, { buffer, loop: true, loopStart: span.start, loopEnd: span.end });
      this.source.connect(this.gain).connect(this.analyser);
      this.source.start(audio.currentTime, span.start + phase);
      this.began = audio.currentTime - phase;
      this.length = span.end - span.start;
      this.level(gain);
    }
    /** Where the music lies in a decoded clip: decoders may leave the encoder's padding around it. */
    #span(buffer) {
      const spare = buffer.duration - this.seconds;
      const start = spare > 0.001 ? Math.min(spare, LEAD / this.rate) : 0;
      return { start, end: Math.min(buffer.duration, start + this.seconds) };
    }
    level(gain) {
      this.gain?.gain.setTargetAtTime(gain, shared.currentTime, FADE / 3);
    }
    stop() {
      if (!this.source) return;
      this.gain.gain.setTargetAtTime(0, shared.currentTime, FADE / 3);
      this.source.stop(shared.currentTime + 2 * FADE);
      this.source = null;
    }
    get position() {
      return (shared.currentTime - this.began) % this.length;
    }
    get loudness() {
      if (!this.analyser) return 0;
      const samples = new Float32Array(this.analyser.fftSize);
      this.analyser.getFloatTimeDomainData(samples);
      return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
    }
  }

  /** Two audio elements that take turns, so that the loop has no gap; for pages opened from a folder. */
  class Elements {
    constructor(seconds) {
      this.seconds = seconds;
    }
    mayBoost = false;
    clips = new Map();
    prepare(url) {
      if (!this.clips.has(url)) {
        const promise = Promise.all([this.#open(url), this.#open(url)]);
        promise.catch(() => this.clips.delete(url));
        this.clips.set(url, promise);
      }
      return this.clips.get(url);
    }
    #open(url) {
      const audio = new Audio();
      return new Promise((ready, fail) => {
        audio.addEventListener("canplaythrough", () => ready(audio), { once: true });
        audio.addEventListener("error", () => fail(new Error("the file is missing or damaged")), { once: true });
        audio.preload = "auto";
        audio.src = url;
        audio.load();
      });
    }
    async start(url, gain, position) {
      const pair = await this.prepare(url);
      return () => {
        const place = this.pair ? this.position : position;
        this.stop();
        [this.pair, this.gain, this.turn] = [pair, gain, 0];
        pair[0].currentTime = place % this.seconds;
        pair[0].volume = Math.min(1, gain);
        this.timer = setInterval(() => this.#loop(), 15);
        return pair[0].play();
      };
    }
    #loop() {
      const now = this.pair[this.turn];
      if (now.currentTime < this.seconds - 0.03 && !now.ended) return;
      this.turn = 1 - this.turn;
      const next = this.pair[this.turn];
      next.currentTime = 0;
      next.volume = Math.min(1, this.gain);
      next.play().catch(() => {});
    }
    level(gain) {
      this.gain = gain;
      this.pair?.forEach((audio) => (audio.volume = Math.min(1, gain)));
    }
    stop() {
      clearInterval(this.timer);
      this.pair?.forEach((audio) => audio.pause());
      this.pair = null;
    }
    get position() {
      return this.pair ? this.pair[this.turn].currentTime % this.seconds : 0;
    }
    get loudness() {
      return this.pair && !this.pair[this.turn].paused ? this.gain : 0;
    }
  }

  // ---- the element

  class SteerSlider extends HTMLElement {
    state = "idle"; // idle, loading, ready, playing, error
    random = Math.random;
    #token = 0;
    #wanted = false;
    #place = 0;

    connectedCallback() {
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => this.#upgrade());
      else this.#upgrade();
    }
    disconnectedCallback() {
      this.pause();
    }

    /** Seconds into the music. */
    get position() {
      return this.state === "playing" ? this.engine.position : this.#place;
    }
    /** Root mean square of what sounds now; 0 in silence. */
    get loudness() {
      return this.state === "playing" ? this.engine.loudness : 0;
    }
    get ladder() {
      return this.ladders[this.chosen];
    }
    get clip() {
      return this.ladder.clips[this.index];
    }

    #upgrade() {
      if (this.ladders) return;
      const ladders = [...this.querySelectorAll(".steer-ladder")].map(readLadder).filter((one) => one.clips.length);
      if (!ladders.length) return;
      this.ladders = ladders;
      this.metrics = parsed(this.dataset.metrics);
      this.seconds = Number(this.dataset.seconds) || 1;
      const plain = location.protocol === "file:" || typeof AudioContext === "undefined";
      this.engine = new (plain ? Elements : Decoded)(this.seconds);
      this.engine.rate = Number(this.dataset.rate) || 44100;
      this.chosen = 0;
      this.index = nearest(this.ladder.clips, 0);
      this.back = this.ladder.clips.length - 1;
      this.#build();
      this.#follow(false);
      window.addEventListener("hashchange", () => this.#follow(true));
      this.#refresh();
    }

    // -- the parts

    #build() {
      const title = this.dataset.title || "Steering";
      this.parts = {};
      const part = (name, tag, attributes = {}, ...children) =>
        (this.parts[name] = make(tag, { class: `steer-${name}`, ...attributes }, ...children));
      const pick = ["concept", "method", "prompt"].map((field) =>
        make("label", {}, field[0].toUpperCase() + field.slice(1) + " ", part(field, "select", { onchange: () => this.#pick(field) })),
      );
      const range = part("strength", "input", {
        type: "range",
        min: 0,
        step: 1,
        "aria-label": `${title}: strength`,
        oninput: () => this.choose(Number(this.parts.strength.value)),
        onchange: () => this.#remember(),
      });
      const box = (name, words, checked, turn) =>
        make("label", {}, part(name, "input", { type: "checkbox", checked, onchange: turn }), ` ${words}`);
      part(
        "panel",
        "div",
        { role: "group", "aria-label": title, onkeydown: (event) => this.#key(event) },
        make("div", { class: "steer-pick" }, ...pick),
        part("asked", "p"),
        part(
          "seen",
          "div",
          {},
          make(
            "div",
            { class: "steer-main" },
            part("play", "button", { type: "button", onclick: () => this.toggle() }, "Play"),
            make(
              "div",
              { class: "steer-travel" },
              make("div", { class: "steer-ends", "aria-hidden": "true" }, part("low", "span"), part("value", "output"), part("high", "span")),
              range,
              part("ticks", "div", { "aria-hidden": "true" }),
            ),
            part("zero", "button", { type: "button", "aria-pressed": "false", title: "Key B", onclick: () => this.compare() }, "Compare with 0"),
          ),
          make(
            "div",
            { class: "steer-sight" },
            part("picture", "div", {}, part("image", "img", { loading: "lazy", alt: "" }), part("cursor", "i")),
            make("div", { class: "steer-graph" }, part("curve", "div"), part("metric", "select", { "aria-label": "Metric of the curve", onchange: () => this.#refresh() }), part("axis", "p")),
          ),
          part("numbers", "p"),
        ),
        part("quiz", "div", { hidden: true }),
        make(
          "div",
          { class: "steer-options" },
          box("match", "match loudness", true, () => this.#refresh()),
          box("blind", "blind listening", false, () => this.#blind()),
          part("link", "a", {}, "link to this sound"),
        ),
        part("status", "p", { role: "status" }),
        part("retry", "button", { type: "button", hidden: true, onclick: () => this.#retry() }, "Try again"),
        make("details", { class: "steer-made" }, make("summary", {}, "How this clip was made"), part("made", "dl")),
      );
      const all = make("details", { class: "steer-all" }, make("summary", {}, `All ${this.querySelectorAll("audio").length} clips as a table`));
      all.append(...this.childNodes);
      this.append(this.parts.panel, all);
      this.classList.add("steer-on");
      for (const [name, label] of Object.entries(this.metrics)) this.parts.metric.append(make("option", { value: name }, label));
      this.parts.metric.hidden = Object.keys(this.metrics).length < 2;
    }

    /** Fill one select with the values that a field takes among ladders that agree with the fields before it. */
    #fill(field, ladders) {
      const select = this.parts[field];
      const known = [...new Map(ladders.map((one) => [one[field], one.names[field]]))];
      select.replaceChildren(...known.map(([value, name]) => make("option", { value, selected: value === this.ladder[field] }, name)));
      select.parentNode.hidden = known.length < 2;
    }

    #pick(field) {
      const wanted = { concept: this.ladder.concept, method: this.ladder.method, prompt: this.ladder.prompt, [field]: this.parts[field].value };
      const weight = { concept: 1, method: 1, prompt: 1, [field]: 4 };
      const score = (one) => Object.keys(wanted).reduce((sum, key) => sum + (one[key] === wanted[key] ? weight[key] : 0), 0);
      const best = this.ladders.reduce((a, b) => (score(b) > score(a) ? b : a));
      this.#climb(this.ladders.indexOf(best), this.clip.percent);
      this.#remember();
    }

    #climb(chosen, percent) {
      this.chosen = chosen;
      this.index = -1;
      this.back = percent ? nearest(this.ladder.clips, percent) : this.ladder.clips.length - 1;
      this.choose(nearest(this.ladder.clips, percent));
    }

    // -- what a person does

    /** Choose the clip at a place of the ladder. */
    choose(index) {
      if (index === this.index && this.state !== "error") return;
      this.index = index;
      if (this.clip.percent) this.back = index;
      this.#refresh();
      if (this.state !== "idle" || this.#wanted) this.#load();
    }
    /** Go to the unsteered clip, or back to where one came from. */
    compare() {
      const zero = nearest(this.ladder.clips, 0);
      this.choose(this.index === zero ? this.back : zero);
      this.#remember();
    }
    toggle() {
      if (this.#wanted) this.pause();
      else this.play();
    }
    play() {
      if (this.engine.mayBoost) context().resume(); // inside the gesture, as phones demand
      this.#wanted = true;
      takeTurn(this);
      return this.#load();
    }
    pause() {
      if (!this.ladders) return;
      this.#token++;
      this.#place = this.position;
      this.#wanted = false;
      this.engine.stop();
      if (this.state === "playing" || this.state === "loading") this.#turn("ready");
    }

    #key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const key = event.key.toLowerCase();
      const acts = { a: () => this.compare(), b: () => this.compare() };
      if (event.target === this.parts.strength) acts[" "] = () => this.toggle();
      if (!acts[key] || (this.parts.blind.checked && key !== " ")) return;
      event.preventDefault();
      acts[key]();
    }

    // -- loading: the token of the last touch is the only one that may change what sounds

    async #load() {
      const token = ++this.#token;
      const clip = this.clip;
      this.#turn(this.state === "playing" ? "playing" : "loading");
      const late = setTimeout(() => token === this.#token && this.#say(`Loading ${this.#called(clip)} …`), 250);
      try {
        await this.engine.prepare(clip.url);
        if (token !== this.#token) return;
        if (this.#wanted) {
          const swap = await this.engine.start(clip.url, this.#gain(), this.#place);
          if (token !== this.#token) return;
          await swap();
          if (token !== this.#token) return;
        }
        this.#turn(this.#wanted ? "playing" : "ready");
        this.#ahead();
      } catch (error) {
        if (token === this.#token) this.#fail(clip, error);
      } finally {
        clearTimeout(late);
      }
    }
    #ahead() {
      for (let step = 1; step <= NEAR; step++)
        for (const clip of [this.ladder.clips[this.index + step], this.ladder.clips[this.index - step]])
          if (clip) this.engine.prepare(clip.url).catch(() => {});
    }
    #fail(clip, error) {
      this.pause();
      this.#turn("error");
      this.#say(`The clip at ${this.#called(clip)} could not be played: ${error.message}. The table below has it, too.`);
      this.parts.retry.hidden = false;
    }
    #retry() {
      this.parts.retry.hidden = true;
      this.parts.play.focus();
      this.play();
    }
    #called(clip) {
      return this.parts.blind.checked ? "the chosen strength" : strengthOf(clip);
    }

    #turn(state) {
      this.state = this.dataset.state = state;
      const words = { loading: "Pause", playing: "Pause" };
      this.parts.play.textContent = words[state] || "Play";
      this.parts.panel.setAttribute("aria-busy", String(state === "loading"));
      if (state !== "error") {
        this.parts.retry.hidden = true;
        this.#say("");
      }
      if (state === "playing") this.#move();
    }
    #say(words) {
      this.parts.status.textContent = words;
    }
    #move() {
      if (this.state !== "playing" || this.moving) return;
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.moving = true;
      const draw = () => {
        this.moving = this.state === "playing" && this.isConnected;
        this.parts.cursor.style.left = `${(100 * this.position) / this.seconds}%`;
        if (this.moving) still ? setTimeout(draw, 250) : requestAnimationFrame(draw);
      };
      draw();
    }

    // -- what is shown

    #gain() {
      return this.parts.match.checked ? 10 ** (this.#matching().gains[this.index] / 20) : 1;
    }
    #matching() {
      return matching(this.ladder.clips, this.engine.mayBoost);
    }

    #refresh() {
      const { ladder, clip, parts } = this;
      this.#fill("concept", this.ladders);
      this.#fill("method", this.ladders.filter((one) => one.concept === ladder.concept));
      this.#fill("prompt", this.ladders.filter((one) => one.concept === ladder.concept && one.method === ladder.method));
      parts.asked.textContent = `“${ladder.text}”, seed ${ladder.seed}`;
      parts.low.textContent = ladder.low;
      parts.high.textContent = ladder.high;
      parts.strength.max = ladder.clips.length - 1;
      parts.strength.value = this.index;
      parts.ticks.replaceChildren(...ladder.clips.map((one) => make("i", { class: one.percent ? "" : "steer-middle" })));
      parts.value.textContent = strengthOf(clip);
      parts.zero.setAttribute("aria-pressed", String(!clip.percent));
      const numbers = Object.entries(this.metrics).filter(([name]) => name in clip.metrics);
      const spoken = numbers.map(([name, label]) => `${label} ${clip.metrics[name]}`);
      parts.strength.setAttribute("aria-valuetext", [strengthOf(clip), rawOf(clip), ...spoken].join(", "));
      parts.numbers.textContent = [rawOf(clip), ...spoken, this.#loudly()].join(" · ");
      this.engine.level?.(this.#gain());
      this.#sight();
      this.#provenance();
      this.#offer();
    }

    /** The link to this clip. While a page loads, the theme takes every link within it for one to a heading. */
    #offer() {
      if (document.readyState === "complete") this.parts.link.href = this.#address();
      else window.addEventListener("load", () => setTimeout(() => this.#offer()), { once: true });
    }

    #loudly() {
      if (!Number.isFinite(this.clip.lufs)) return "loudness unknown";
      const own = `${signed(this.clip.lufs, 1)} LUFS as generated`;
      if (!this.parts.match.checked) return own;
      const { target, gains } = this.#matching();
      const short = target - this.clip.lufs - gains[this.index];
      return `${own}, matched to ${signed(target, 1)}` + (short > 0.1 ? `, still ${short.toFixed(1)} LU quieter` : "");
    }

    #sight() {
      const { clip, ladder, parts } = this;
      parts.picture.classList.toggle("steer-bare", !clip.spectrogram);
      parts.image.hidden = !clip.spectrogram;
      if (clip.spectrogram && parts.image.getAttribute("src") !== clip.spectrogram) parts.image.src = clip.spectrogram;
      parts.image.alt = `Spectrogram of the clip at ${strengthOf(clip)}: time to the right, pitch upwards.`;
      const name = parts.metric.value || Object.keys(this.metrics)[0];
      const points = ladder.clips.filter((one) => Number.isFinite(one.metrics[name]));
      parts.curve.parentNode.hidden = points.length < 2;
      parts.axis.textContent = parts.metric.hidden ? `${this.metrics[name]} over strength` : "";
      if (points.length > 1) parts.curve.replaceChildren(curve(points, name, this.metrics[name], clip));
    }

    #provenance() {
      const { ladder, clip } = this;
      const rows = {
        Prompt: ladder.names.prompt,
        Method: ladder.names.method,
        Strength: `${strengthOf(clip)}, raw ${clip.alpha}`,
        Model: this.dataset.model,
        Layers: ladder.layers,
        File: clip.url.startsWith("data:") ? "" : clip.url.split("/").pop(),
        SHA256: clip.sha256,
        Command: this.dataset.command,
      };
      const given = Object.entries(rows).filter(([, value]) => value);
      this.parts.made.replaceChildren(
        ...given.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, name === "Command" ? make("code", {}, value) : value)]),
      );
    }

    // -- links to a sound

    #address() {
      const { ladder, clip } = this;
      const parts = new URLSearchParams({ c: ladder.concept, m: ladder.method, a: clip.percent });
      const same = this.ladders.filter((one) => one.concept === ladder.concept && one.method === ladder.method);
      if (same.length > 1) parts.set("p", same.indexOf(ladder));
      const others = [...document.querySelectorAll("steer-slider")];
      if (others.length > 1) parts.set("s", others.indexOf(this));
      return `#${parts}`;
    }
    #remember() {
      if (this.parts.blind.checked) return;
      try {
        history.replaceState(null, "", this.#address());
      } catch {
        /* a page without an address of its own has no links */
      }
    }
    #follow(go) {
      const link = parseLink(location.hash);
      const others = [...document.querySelectorAll("steer-slider")];
      if (!link || Number(link.s || 0) !== others.indexOf(this)) return;
      const same = this.ladders.filter((one) => one.concept === link.c && one.method === (link.m || one.method));
      if (!same.length || !Number.isFinite(Number(link.a))) return;
      this.#climb(this.ladders.indexOf(same[Number(link.p)] || same[0]), Number(link.a));
      if (!go) requestAnimationFrame(() => this.scrollIntoView({ block: "center" }));
    }

    // -- blind listening: which way was it steered?

    #blind() {
      const on = this.parts.blind.checked;
      this.pause();
      this.classList.toggle("steer-blinded", on);
      this.parts.seen.hidden = this.parts.link.hidden = on;
      this.parts.quiz.hidden = !on;
      if (on) this.#ask();
      else this.#refresh();
    }
    #ask() {
      const steered = this.ladders.filter((one) => one.clips.some((clip) => clip.percent));
      if (!steered.length) return;
      const ladder = steered[Math.floor(this.random() * steered.length)];
      const ways = ladder.clips.filter((clip) => clip.percent);
      const clip = ways[Math.floor(this.random() * ways.length)];
      this.chosen = this.ladders.indexOf(ladder);
      this.index = ladder.clips.indexOf(clip);
      const hear = (words, index) =>
        make("button", { type: "button", onclick: () => { this.index = index; this.play(); } }, words);
      const guess = (words, sign) => make("button", { type: "button", onclick: () => this.#judge(clip, ladder, sign) }, words);
      this.parts.quiz.replaceChildren(
        make("p", {}, "Two clips from the same noise, of a method and at a strength that you do not see. Which way was the second steered?"),
        make("div", { class: "steer-row" }, hear("Hear the unsteered", nearest(ladder.clips, 0)), hear("Hear the steered", this.index)),
        make("div", { class: "steer-row" }, guess(ladder.low, -1), guess(ladder.high, 1)),
      );
    }
    #judge(clip, ladder, sign) {
      const right = Math.sign(clip.percent) === sign;
      const score = tally(right);
      this.parts.quiz.replaceChildren(
        make("p", { role: "status" }, `${right ? "Right" : "No"}: ${ladder.names.concept}, ${ladder.names.method}, ${strengthOf(clip)}. You have ${score.right} of ${score.asked} right.`),
        make("button", { type: "button", onclick: () => this.#ask() }, "Another"),
      );
    }
  }

  /** Count an answer in the browser's own store, where there is one. */
  function tally(right) {
    let score = { right: 0, asked: 0 };
    try {
      score = JSON.parse(localStorage.getItem("steer-blind")) || score;
      score = { right: score.right + Number(right), asked: score.asked + 1 };
      localStorage.setItem("steer-blind", JSON.stringify(score));
    } catch {
      score = { right: Number(right), asked: 1 };
    }
    return score;
  }

  function readLadder(node) {
    const own = node.dataset;
    return {
      concept: own.concept,
      method: own.method,
      prompt: `${own.prompt}#${own.seed}`,
      text: own.prompt,
      seed: own.seed,
      names: { concept: own.concept, method: own.label, prompt: `${own.prompt} (seed ${own.seed})` },
      low: own.low || "less",
      high: own.high || "more",
      layers: own.layers,
      clips: [...node.querySelectorAll("tr[data-percent]")].map(readClip).filter((clip) => clip.url),
    };
  }

  /** An object from JSON; an empty one where there is none that can be read. */
  function parsed(json) {
    try {
      return JSON.parse(json || "{}");
    } catch {
      return {};
    }
  }

  function readClip(row) {
    const own = row.dataset;
    return {
      percent: Number(own.percent),
      alpha: own.alpha,
      lufs: Number(own.lufs),
      peak: Number(own.peak),
      metrics: parsed(own.metrics),
      spectrogram: own.spectrogram,
      sha256: own.sha256,
      url: row.querySelector("audio")?.getAttribute("src"),
    };
  }

  /** A metric over strength, with a mark where the slider stands. */
  function curve(points, name, label, clip) {
    const [width, height, edge] = [220, 84, 8];
    const values = points.map((one) => one.metrics[name]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const most = Math.max(...points.map((one) => Math.abs(one.percent)), 1);
    const x = (one) => edge + ((one.percent + most) / (2 * most)) * (width - 2 * edge);
    const y = (one) => height - edge - ((one.metrics[name] - low) / (high - low || 1)) * (height - 2 * edge);
    const here = clip.metrics[name];
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `${label} over strength, from ${low} to ${high}` + (here == null ? "." : `; here ${here}.`));
    svg.append(
      drawn("line", { x1: width / 2, x2: width / 2, y1: 2, y2: height - 2 }),
      drawn("polyline", { points: points.map((one) => `${x(one)},${y(one)}`).join(" "), class: "steer-line" }),
      ...points.map((one) => drawn("circle", { cx: x(one), cy: y(one), r: one === clip ? 5 : 2, class: one === clip ? "steer-here" : "steer-point" })),
    );
    return svg;
  }

  SteerSlider.tools = { matching };
  customElements.define("steer-slider", SteerSlider);
})();
