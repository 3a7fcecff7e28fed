/* <find-layers>: a game around <steer-live>. Some layers are drawn that alone can read the prompt with a concept (a plant);
   the reader ticks layers, listens, and says which they are. The sweep then does the same, one layer after the other. */
(() => {
  "use strict";
  if (customElements.get("find-layers")) return;
  const MOST = 3; // layers of a plant
  const HEARD = 0.2; // how much surer the probe must be

  /** The layers of a plant, by its number: one to three of `count`, the first of them one of the `carriers`, if there are any. */
  function drawn(number, count, carriers) {
    let state = number >>> 0;
    const random = () => {
      state = (state + 0x6d2b79f5) >>> 0; // mulberry32
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
    const one = (some) => some[Math.floor(some.length * random())];
    const every = [...Array(count).keys()], found = [one(carriers.length ? carriers : every)];
    for (let more = Math.floor(Math.min(MOST, count) * random()); more; more--) found.push(one(every.filter((layer) => !found.includes(layer))));
    return found.sort((a, b) => a - b);
  }

  const listed = (layers) => (layers.length ? layers.join(", ") : "none");
  const make = (...given) => customElements.get("steer-live").make(...given);

  class FindLayers extends HTMLElement {
    connectedCallback() {
      this.addEventListener("live-ready", (event) => this.begin(event.target));
    }

    /** Draw the first plant once the model is there. */
    begin(instrument) {
      this.instrument = instrument;
      this.querySelector(".find-panel")?.remove();
      this.said = make("p", { role: "status" });
      this.table = make("div", { class: "find-sweep" });
      const button = (words, act) => make("button", { type: "button", onclick: act }, words);
      const buttons = make("div", { class: "live-sets" }, button("These are the layers", () => this.answer()), button("Let the sweep look", () => this.sweep()), button("Another plant", () => this.plant(this.number + 1)));
      this.append(make("div", { class: "find-panel live-panel", role: "group", "aria-label": "Find the layers" }, buttons, this.said, this.table));
      this.plant(Number(this.dataset.first || 0));
    }

    plant(number) {
      const it = this.instrument;
      Object.assign(this, { number, planted: drawn(number, it.about.layers, it.about.functional) });
      delete this.dataset.open;
      this.sweeping = null;
      this.table.replaceChildren();
      it.allowed = this.planted;
      it.choose({ layers: [] });
      this.said.textContent = `Plant ${number} has one to ${MOST} layers. Tick some, listen, and compare with “unchanged”.`;
    }

    /** Say which of the ticked layers are right, and show everything. */
    answer() {
      const { layers } = this.instrument.state, right = layers.filter((layer) => this.planted.includes(layer));
      const all = right.length === this.planted.length && right.length === layers.length;
      this.said.textContent = `Planted: ${listed(this.planted)}. You: ${listed(layers)}. ${all ? "Found." : `${right.length} of ${this.planted.length} found, ${layers.length - right.length} that are not planted.`}`;
      this.dataset.open = "";
    }

    /** Route one layer after the other, and show how sure the probe is of the concept. */
    async sweep() {
      const it = this.instrument, { prompt, source, seed } = it.state, mine = (this.sweeping = {}); // a later one takes its place
      const pair = it.about.pairs.find((one) => one.source === source), known = it.about.classes[pair?.attribute] || [];
      const chance = async (layers) => {
        const request = { prompt, seed, layers, strengths: {}, source: layers.length ? source : null };
        let made = null;
        while (!made && mine === this.sweeping) {
          while (it.status === "making") await new Promise((rest) => setTimeout(rest, 100)); // the reader's own clip first
          made = await it.compute(request, () => {});
        }
        return made ? made.verdict[pair.attribute][2][known.indexOf(pair.class)] : null;
      };
      if (!it.now?.verdict) return void (this.said.textContent = "No judge of this model runs in a page.");
      if (!known.length) return void (this.said.textContent = "Choose a pair: of a prompt of your own nobody knows what to hear.");
      const body = make("tbody"), caption = make("caption", {}, `How sure the probe is of “${pair.class}”`);
      this.table.replaceChildren(make("table", {}, caption, body));
      const cases = [["no layer", []], ...[...Array(it.about.layers).keys()].map((layer) => [`layer ${layer}`, this.planted.filter((one) => one === layer)]), ["all planted", this.planted]];
      const values = [];
      for (const [words, layers] of cases) {
        this.said.textContent = `The sweep is at: ${words} …`;
        let value;
        try {
          value = await chance(layers);
        } catch (error) {
          return void (this.said.textContent = `The sweep stopped: ${error.message}.`);
        }
        if (mine !== this.sweeping) return;
        values.push(value);
        const percent = `${Math.round(100 * value)} %`;
        body.append(make("tr", {}, make("th", { scope: "row" }, words), make("td", {}, make("meter", { min: 0, max: 1, value, "aria-label": percent }, percent)), make("td", {}, percent)));
      }
      this.answer();
      if (values.at(-1) - values[0] < HEARD) this.said.append(" Even all of them together hardly move the probe on this clip: try another pair, or other noise.");
    }
  }

  customElements.define("find-layers", FindLayers);
})();
