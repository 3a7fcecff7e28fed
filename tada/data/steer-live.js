/* <steer-live>: a mini that makes its clips in the page, steered or patched. It asks for nothing before the reader does;
   then a worker (steer-live/worker.mjs) fetches the model that tada.display.live exported, and computes.

   What cannot be (a page from a folder, no WebAssembly, no network) is said in one sentence; what stands inside the
   element, such as players of clips made before, stays where it is. */
(() => {
  "use strict";
  if (customElements.get("steer-live")) return;

  const BASE = new URL("steer-live/", document.currentScript.src).href;
  const OFFERED = 8; // words that are offered while one types
  const QUIET = 250; // milliseconds without a change after which a clip is made
  const MODES = { steer: "Steer", patch: "Patch" };

  const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + String(Math.abs(Number(value.toPrecision(3))));
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const quoted = (text) => JSON.stringify(text);

  /** The words in which two texts differ, from the first to the last of them. */
  function difference(one, other) {
    const [a, b] = [one, other].map((text) => text.trim().split(/\s+/));
    while (a.length && b.length && a[0] === b[0]) a.shift(), b.shift();
    while (a.length && b.length && a.at(-1) === b.at(-1)) a.pop(), b.pop();
    return [a, b].map((words) => words.join(" "));
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

  /** Why nothing can be computed here, in a sentence; empty where it can. */
  function hindrance() {
    if (location.protocol === "file:") return "This page was opened from a folder, where it may not read the model's files: with any web server, such as python -m http.server, it plays here.";
    const lacking = { WebAssembly: "WebAssembly", Worker: "workers", DecompressionStream: "unpacking of files" };
    const missing = Object.keys(lacking).find((name) => typeof globalThis[name] === "undefined");
    return missing ? `This browser has no ${lacking[missing]}, so that nothing can be computed in this page.` : "";
  }

  class SteerLive extends HTMLElement {
    static make = make;
    status = "idle"; // idle, loading, ready, making, failed
    made = new Map(); // request as JSON -> clip
    allowed = null; // layers that a choice can reach; null: all
    #number = 0;
    #waiting = new Map();

    connectedCallback() {
      if (this.panel) return;
      this.panel = make("div", { class: "live-panel", role: "group", "aria-label": "A model in this page" });
      this.prepend(this.panel);
      const trouble = hindrance();
      if (trouble) return this.#refuse(trouble);
      const start = make("button", { type: "button", class: "live-start", onclick: () => this.start() }, `Run the model here (${megabytes(Number(this.dataset.bytes))})`);
      this.panel.append(start, this.#line("A small model is fetched once and makes music in this page; nothing is sent anywhere."));
      this.#listen();
      if (this.#linked()) start.append(" as linked");
    }
    disconnectedCallback() {
      this.worker?.terminate();
    }

    #line(words, attributes = {}) {
      return make("p", { class: "live-line", ...attributes }, words);
    }
    #refuse(sentence) {
      this.status = "failed";
      this.panel.replaceChildren(this.#line(sentence, { class: "live-trouble" }));
    }

    // -- the worker

    /** Ask the worker; a promise of its answer. */
    #ask(kind, given, tell) {
      const id = ++this.#number;
      this.worker.postMessage({ id, kind, ...given });
      return new Promise((done, fail) => this.#waiting.set(id, { done, fail, tell }));
    }
    #answer({ data: { id, progress, done, error } }) {
      const waiting = this.#waiting.get(id);
      if (progress) return waiting?.tell(progress);
      this.#waiting.delete(id);
      error === undefined ? waiting?.done(done) : waiting?.fail(new Error(error));
    }

    /** Fetch the model and show the instrument. */
    async start() {
      this.status = "loading";
      const bar = make("progress", { max: 1, value: 0, "aria-label": "Loading the model" });
      const said = this.#line("Loading …", { role: "status" });
      this.panel.replaceChildren(bar, said);
      try {
        this.tools = await import(`${BASE}tools.mjs`);
        this.worker = new Worker(`${BASE}worker.mjs`, { type: "module" });
        this.worker.onmessage = (message) => this.#answer(message);
        const broken = new Promise((_, fail) => (this.worker.onerror = (event) => fail(new Error(event.message || "the worker did not start"))));
        const from = new URL(".", new URL(this.dataset.from, document.baseURI)).href;
        const about = fetch(`${from}live.json`).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`the server answered ${answer.status}`))));
        const tell = ({ bytes, of }) => {
          bar.value = bytes / of;
          said.textContent = `Loading: ${megabytes(bytes)} of ${megabytes(of)}`;
        };
        [this.about] = await Promise.race([Promise.all([about, this.#ask("load", { from }, tell)]), broken]);
        this.about.tokenizer.pieces = new Map(this.about.tokenizer.pieces.map(([piece, score], id) => [piece, [id, score]]));
        this.words = [...this.about.tokenizer.pieces.keys()].filter((piece) => /^▁.{2,}/.test(piece)).map((piece) => piece.slice(1));
        this.#begin();
      } catch (error) {
        this.#refuse(`The model could not be loaded: ${error.message}.`);
        this.panel.append(make("button", { type: "button", onclick: () => this.start() }, "Try again"));
      }
    }

    // -- the state, which a link holds whole

    #begin() {
      const { about } = this, layers = about.functional.length ? about.functional : [...Array(about.layers).keys()];
      const [first] = about.concepts;
      this.state = {
        mode: first && !this.#patching ? "steer" : "patch",
        prompt: about.prompts[0],
        source: "",
        seed: about.seeds[0],
        layers: [...layers],
        strengths: first ? { [first.name]: this.#rounded(first, first.most / 2) } : {},
        ...this.#linked(),
      };
      this.status = "ready";
      for (const inside of this.children) inside.hidden = inside !== this.panel; // what was made before has done its part
      this.#build();
      this.#turn(this.state.mode);
      this.dispatchEvent(new CustomEvent("live-ready", { bubbles: true }));
    }

    /** Whether the page has it patch alone. */
    get #patching() {
      return this.dataset.mode === "patch";
    }

    /** The state that the page's address asks of this element, or null. */
    #linked() {
      const parts = new URLSearchParams(location.hash.slice(1));
      if (parts.get("live") !== String([...document.querySelectorAll("steer-live")].indexOf(this))) return null;
      const pairs = (parts.get("a") || "").split(",").filter(Boolean).map((one) => one.split(":"));
      return {
        mode: parts.get("m") in MODES ? parts.get("m") : "steer",
        prompt: parts.get("p") ?? "",
        source: parts.get("q") ?? "",
        seed: Number(parts.get("s")),
        layers: (parts.get("l") || "").split("-").filter(Boolean).map(Number),
        strengths: Object.fromEntries(pairs.map(([name, alpha]) => [name, Number(alpha)])),
      };
    }
    get link() {
      const { mode, prompt, source, seed, layers, strengths } = this.state;
      const parts = { live: [...document.querySelectorAll("steer-live")].indexOf(this), m: mode, p: prompt, s: seed, l: layers.join("-") };
      if (mode === "patch") parts.q = source;
      else parts.a = Object.entries(strengths).map((one) => one.join(":")).join(",");
      return `#${new URLSearchParams(parts)}`;
    }

    /** What the worker is asked for: the clip as chosen, without the change, or of the other prompt alone. */
    request(which = this.hearing) {
      const { mode, prompt, source, seed, strengths } = this.state;
      const layers = this.state.layers.filter((layer) => this.allowed?.includes(layer) ?? true);
      const plain = { prompt, seed, layers: [], strengths: {}, source: null };
      if (which === "other") return { ...plain, prompt: source };
      const moved = Object.fromEntries(Object.entries(strengths).filter(([, alpha]) => alpha));
      const none = !layers.length || (mode === "steer" && !Object.keys(moved).length);
      if (which === "plain" || none) return plain;
      return mode === "steer" ? { ...plain, layers, strengths: moved } : { ...plain, layers, source };
    }

    /** Change the state, and make the clip that it asks for once nothing more has changed for a moment. */
    choose(change) {
      Object.assign(this.state, change);
      this.#refresh();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.hear(), QUIET);
    }

    /** Make the clip that is to be heard, or find it; where sound plays, it goes on at its place. */
    async hear(which = this.hearing) {
      clearTimeout(this.timer);
      this.hearing = which;
      this.#refresh();
      const request = this.request(), key = JSON.stringify(request);
      this.status = "making";
      const tell = ({ step, steps }) => {
        this.parts.bar.hidden = false;
        this.parts.bar.value = step / steps;
      };
      try {
        const made = await this.compute(request, tell);
        if (!made || key !== JSON.stringify(this.request())) return; // a newer request took its place
        this.status = "ready";
        this.parts.bar.hidden = true;
        this.#present(made);
      } catch (error) {
        this.status = "failed";
        this.parts.bar.hidden = true;
        this.parts.said.textContent = `This clip could not be made: ${error.message}.`;
      }
    }

    /** The clip of a request, made or found; null where a newer request took its place. */
    async compute(request, tell) {
      const key = JSON.stringify(request);
      if (!this.made.has(key)) {
        const made = await this.#ask("make", { request }, tell);
        if (!made) return null;
        this.made.set(key, { ...made, url: URL.createObjectURL(this.tools.wav(made.audio, made.rate)) });
      }
      return this.made.get(key);
    }

    // -- the parts

    #build() {
      const { about } = this, parts = (this.parts = {});
      const part = (name, tag, attributes = {}, ...children) => (parts[name] = make(tag, { class: `live-${name}`, ...attributes }, ...children));
      const field = (name, words) =>
        make("label", { class: "live-field" }, words, part(name, "input", { type: "text", autocomplete: "off", spellcheck: "false", oninput: () => this.#typed(name), onfocus: () => this.#offer(name) }));
      const radio = (group, value, words, checked, act) =>
        make("label", {}, make("input", { type: "radio", name: `${group}-${this.#name}`, value, checked, onchange: act }), ` ${words}`);
      const modes = Object.entries(MODES).filter(([mode]) => mode === "patch" || (about.concepts.length && !this.#patching));
      this.panel.replaceChildren(
        part("mode", "fieldset", { hidden: modes.length < 2 }, make("legend", {}, "What to do at the layers"), ...modes.map(([mode, words]) => radio("mode", mode, words, mode === this.state.mode, () => this.#turn(mode)))),
        make("label", { class: "live-field" }, "Pair", part("pairs", "select", { onchange: () => this.#pair(parts.pairs.value) }, ...about.pairs.map(({ concept }, place) => make("option", { value: place }, concept)))),
        field("prompt", "Prompt"),
        field("source", "Prompt that the ticked layers read"),
        part("differing", "p"),
        part("offers", "div", { "aria-label": "Words that the model knows", role: "group" }),
        part("unknown", "p", { role: "status" }),
        part("strengths", "div"),
        part("layers", "fieldset", {}, make("legend", {}, "Layers"), part("boxes", "div"), this.#sets()),
        make("label", { class: "live-seed" }, "Noise of seed ", part("seed", "select", { onchange: () => this.choose({ seed: Number(parts.seed.value) }) }, ...about.seeds.map((seed) => make("option", { value: seed }, seed)))),
        part("bar", "progress", { max: 1, value: 0, hidden: true, "aria-label": "Making the clip" }),
        part("hearing", "fieldset", {}, make("legend", {}, "Hear")),
        part("audio", "audio", { controls: true, loop: true, "aria-label": "The clip" }),
        part("picture", "canvas", { role: "img", width: 256, height: 96 }),
        part("said", "p", { role: "status" }),
        part("verdict", "p"),
        make("label", {}, part("match", "input", { type: "checkbox", checked: true, onchange: () => this.#volume() }), " play all at the level of the quietest"),
        make("p", { class: "live-links" }, part("link", "a", {}, "link to this clip"), " · ", part("file", "a", { download: "clip.wav" }, "wav file")),
        make("details", {}, make("summary", {}, "The same in Python"), make("pre", { tabindex: 0 }, part("code", "code"))),
      );
      this.hearing = "this";
      for (const [which, words] of [["this", "as chosen"], ["plain", "unchanged"], ["other", "the other prompt alone"]])
        parts.hearing.append(radio("hear", which, words, which === "this", () => this.hear(which)));
      for (let layer = 0; layer < about.layers; layer++)
        parts.boxes.append(make("label", {}, make("input", { type: "checkbox", value: layer, onchange: () => this.#ticked() }), ` ${layer}`));
      for (const concept of about.concepts) parts.strengths.append(this.#strength(concept));
      this.panel.addEventListener("keydown", (event) => {
        if (event.key.toLowerCase() !== "b" || event.ctrlKey || event.metaKey || event.altKey || event.target.type === "text") return;
        event.preventDefault();
        this.hear(this.hearing === "plain" ? "this" : "plain");
      });
    }
    get #name() {
      return (this.uid ??= `live-${Math.random().toString(36).slice(2)}`);
    }

    #sets() {
      const { about } = this, all = [...Array(about.layers).keys()];
      const sets = { all, none: [], ...(about.functional.length ? { functional: about.functional } : {}) };
      const buttons = Object.entries(sets).map(([words, layers]) => make("button", { type: "button", onclick: () => this.choose({ layers: [...layers] }) }, words));
      return make("div", { class: "live-sets" }, ...buttons);
    }
    #ticked() {
      const boxes = [...this.parts.boxes.querySelectorAll("input:checked")];
      this.choose({ layers: boxes.map((box) => Number(box.value)) });
    }

    #rounded(concept, alpha) {
      const step = this.#step(concept);
      return Number((Math.round(alpha / step) * step).toPrecision(6));
    }
    #step({ most }) {
      return Number((most / 20).toPrecision(1));
    }
    #strength(concept) {
      const step = this.#step(concept), most = Math.ceil(concept.most / step) * step;
      const use = make("input", { type: "checkbox", onchange: () => this.#use(concept, use.checked) });
      const range = make("input", { type: "range", min: -most, max: most, step, "aria-label": `${concept.name}: strength`, oninput: () => this.#use(concept, true, Number(range.value)) });
      const value = make("output", {});
      const ends = make("span", { class: "live-ends", "aria-hidden": "true" }, make("span", {}, concept.low), value, make("span", {}, concept.high));
      const row = make("div", { class: "live-strength" }, make("label", {}, use, ` ${concept.name}`), ends, range);
      Object.assign(row, { concept, use, range, value });
      return row;
    }
    #use(concept, on, alpha = this.#rounded(concept, concept.most / 2)) {
      const { [concept.name]: _, ...others } = this.state.strengths;
      this.choose({ strengths: on ? { ...others, [concept.name]: alpha } : others });
    }

    /** A strength in percent of the range that was found for the ticked layers, where one was. */
    #percent(concept, alpha) {
      const ticked = String([...this.state.layers].sort((a, b) => a - b));
      const range = concept.ranges.find((one) => String([...one.layers].sort((a, b) => a - b)) === ticked);
      return range ? `, ${signed((100 * alpha) / Math.abs(alpha > 0 ? range.high : range.low))} % of the range of these layers` : "";
    }

    /** Steer or patch; who has no other prompt yet gets the first pair. */
    #turn(mode) {
      const { about, state } = this;
      if (mode === "patch" && about.pairs.length && !state.source) this.#pair(0);
      this.choose({ mode });
    }
    #pair(place) {
      const { prompt, source, seed = this.state.seed } = this.about.pairs[place];
      this.choose({ prompt, source, seed });
    }

    // -- words

    #typed(name) {
      this.#offer(name);
      this.choose({ [name]: this.parts[name].value });
    }
    /** Words that begin as the last one does. */
    #offer(name) {
      const input = this.parts[name], begun = input.value.match(/[^\s.,]*$/)[0].toLowerCase();
      const fit = begun ? this.words.filter((word) => word.startsWith(begun) && word !== begun) : [];
      const take = (word) => {
        input.value = `${input.value.slice(0, input.value.length - begun.length)}${word} `;
        input.focus();
        this.#typed(name);
      };
      this.parts.offers.replaceChildren(...fit.slice(0, OFFERED).map((word) => make("button", { type: "button", onclick: () => take(word) }, word)));
    }
    #unknown(text) {
      return this.tools.tokenise(text, this.about.tokenizer).unknown.map(([start, end]) => text.slice(start, end).trim()).filter(Boolean);
    }

    // -- what is shown

    #refresh() {
      const { parts, state } = this, patching = state.mode === "patch";
      for (const name of ["prompt", "source"]) if (parts[name].value !== state[name]) parts[name].value = state[name];
      for (const name of ["source", "pairs"]) parts[name].parentNode.hidden = !patching;
      parts.strengths.hidden = patching;
      parts.seed.value = state.seed;
      for (const input of parts.mode.querySelectorAll("input")) input.checked = input.value === state.mode;
      for (const input of parts.boxes.querySelectorAll("input")) input.checked = state.layers.includes(Number(input.value));
      if (!patching && this.hearing === "other") this.hearing = "this";
      for (const input of parts.hearing.querySelectorAll("input")) {
        input.checked = input.value === this.hearing;
        if (input.value === "other") input.parentNode.hidden = !patching;
      }
      for (const row of parts.strengths.children) {
        const alpha = state.strengths[row.concept.name];
        row.use.checked = alpha !== undefined;
        row.range.value = alpha ?? 0;
        row.value.textContent = alpha === undefined ? "off" : signed(alpha);
        row.range.setAttribute("aria-valuetext", alpha === undefined ? "off" : `strength ${signed(alpha)}${this.#percent(row.concept, alpha)}`);
      }
      const unknown = [state.prompt, ...(patching ? [state.source] : [])].flatMap((text) => this.#unknown(text));
      const [own, other] = difference(state.prompt, state.source);
      parts.differing.textContent = !patching ? "" : own || other ? `“${own || "nothing"}” becomes “${other || "nothing"}”.` : "The prompts are the same.";
      parts.unknown.textContent = unknown.length ? `The model does not know: ${[...new Set(unknown)].join(", ")}.` : "";
      parts.code.textContent = this.python;
      parts.link.href = this.link;
    }

    /** What is heard, in words. */
    get #called() {
      const { state } = this, request = this.request();
      if (this.hearing === "other") return `“${state.source}” alone`;
      if (!request.layers.length) return `“${state.prompt}”, unchanged`;
      const ticked = this.allowed ? state.layers : request.layers; // what is hidden is not told
      const where = `at layer${ticked.length > 1 ? "s" : ""} ${ticked.join(", ")}`;
      if (request.source) return `“${state.prompt}”, but “${state.source}” ${where}`;
      const pushed = Object.entries(request.strengths).map(([name, alpha]) => `${name} ${signed(alpha)}${this.#percent(this.about.concepts.find((one) => one.name === name), alpha)}`);
      return `“${state.prompt}”, ${pushed.join(" and ")} ${where}`;
    }

    #present(made) {
      const { parts } = this, { audio } = parts, [place, playing] = [audio.currentTime, !audio.paused];
      if (audio.src !== made.url) {
        audio.src = made.url;
        audio.currentTime = place;
        if (playing) audio.play().catch(() => {});
      }
      audio.setAttribute("aria-label", this.#called);
      parts.file.href = made.url;
      this.now = made;
      this.#volume();
      parts.said.textContent = `${this.#called}. ${signed(Number(made.level.toFixed(1)))} LUFS as made; it took ${made.seconds.toFixed(1)} s.`;
      const heard = Object.entries(made.verdict || {}).map(([name, [own, chance]]) => `${name} ${own} ${Math.round(100 * chance)} %`);
      parts.verdict.textContent = heard.length ? `The attribute probe hears: ${heard.join(" · ")}` : "";
      this.#paint(made);
      try {
        if (this.touched) history.replaceState(null, "", this.link);
      } catch {
        /* a page without an address of its own has no links */
      }
      this.touched = true;
    }
    #volume() {
      const lowest = Math.min(...[...this.made.values()].map((one) => one.level));
      if (this.now) this.parts.audio.volume = this.parts.match.checked ? 10 ** ((lowest - this.now.level) / 20) : 1;
    }
    #paint({ picture }) {
      const { width, height } = this.parts.picture, pen = this.parts.picture.getContext("2d"), image = pen.createImageData(width, height);
      picture.forEach((level, n) => image.data.set([Math.min(255, 1.5 * level), Math.max(0, 1.6 * level - 150), 120 * Math.sin((level / 255) * 3.1) + 0.3 * level, 255], 4 * n));
      pen.putImageData(image, 0, 0);
      this.parts.picture.setAttribute("aria-label", `Spectrogram of ${this.#called}: time to the right, pitch upwards.`);
    }

    /** The call that makes the clip in Python. */
    get python() {
      const { about, state } = this, { prompt, source, seed, layers, strengths } = this.request();
      const lines = ["import tada", "", `model = tada.load(${quoted(about.model)}, ${quoted(about.load)})`];
      const how = about.steps === about.own_steps ? "" : `, model.sampling(steps=${about.steps})`;
      const generate = `model.generate(${quoted(prompt)}, ${seed}, ${about.seconds}${how})`;
      const vector = (name) => `library.find(${quoted(about.vectors)}, model, ${quoted(name)})`;
      const pushed = Object.entries(strengths);
      if (source !== null) {
        lines.push(`context = model.encode([${quoted(prompt)}, ${quoted(source)}])`, `with tada.route(model, [${layers.join(", ")}], context[1]):`);
        lines.push(`    latents = model.sample(context[0], model.noise(${seed}, ${about.seconds})${how})`, "clips = model.decode(latents)");
      } else if (pushed.length) {
        lines.splice(1, 0, "from tada.steering import combine, library");
        lines.push(`vectors = [${pushed.map(([name]) => vector(name)).join(", ")}]`);
        lines.push(`with combine(vectors, [${pushed.map(([, alpha]) => alpha).join(", ")}]).apply(model, 1.0, [${layers.join(", ")}]):`, `    clips = ${generate}`);
      } else lines.push(`clips = ${generate}`);
      return [...lines, 'clips[0].save("clip.wav")'].join("\n");
    }

    #listen() {
      window.addEventListener("hashchange", () => {
        const linked = this.#linked();
        if (linked && this.state && this.link !== location.hash) this.choose(linked);
      });
    }
  }

  customElements.define("steer-live", SteerLive);
})();
