/* What a page computes beside the networks: tokens of a prompt, sound from magnitudes, pictures and files of sound.
   Each function is the Python one of its name in tada.models; where order or rounding matters it is kept. */

const { fround, PI } = Math;
const FLAT = 0.1; // as tada.models.phase.FLAT
const SILENCE = -70; // LUFS, as tada.audio.SILENCE

// ---- text: a Unigram tokenizer over words, as the minis have

/** Tokens of a text: `{ids, unknown}`, with the places of the text that no word covers as `[start, end]`. */
export function tokenise(text, { pieces, unk, eos, lowercase }) {
  if (!text) return { ids: [eos], unknown: [] };
  const plain = (lowercase ? text.toLowerCase() : text).replaceAll(" ", "▁"), lead = plain.startsWith("▁") ? 0 : 1;
  const words = ["▁".repeat(lead), ...plain].join("").split("");
  const longest = Math.max(...[...pieces.keys()].map((piece) => piece.length));
  const lost = Math.min(...[...pieces.values()].map(([, score]) => score)) - 10;
  const best = [{ score: 0 }];
  words.forEach((letter, start) => {
    const at = (end, id, score) => {
      const total = best[start].score + score;
      if (!best[end] || total > best[end].score) best[end] = { start, id, score: total };
    };
    let single = false;
    for (let end = start + 1, piece = ""; end <= Math.min(words.length, start + longest); end++) {
      piece += words[end - 1];
      const known = pieces.get(piece);
      if (known) at(end, ...known);
      single ||= known && end === start + 1;
    }
    if (!single) at(start + 1, unk, lost);
  });
  const ids = [eos], unknown = [];
  for (let end = words.length; end > 0; end = best[end].start) {
    const { start, id } = best[end];
    const again = id === unk && ids[0] === unk; // unknown letters in a row are one token
    if (again) unknown[0][0] = start;
    else {
      ids.unshift(id);
      if (id === unk) unknown.unshift([start, end]);
    }
  }
  return { ids, unknown: unknown.map((span) => span.map((place) => Math.max(0, place - lead))) };
}

// ---- Fourier transforms of real frames, two at a time

export class Fourier {
  constructor(size) {
    this.size = size;
    this.cos = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * PI * k) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, k) => Math.sin((2 * PI * k) / size));
    const bits = Math.log2(size);
    this.swap = Uint32Array.from({ length: size }, (_, k) => {
      let turned = 0;
      for (let bit = 0; bit < bits; bit++) turned |= ((k >> bit) & 1) << (bits - 1 - bit);
      return turned;
    });
    this.re = new Float64Array(size);
    this.im = new Float64Array(size);
  }
  /** Transform `re` and `im` in place; `sign` -1 forwards, 1 backwards (not divided by the size). */
  run(sign) {
    const { re, im, size, swap, cos, sin } = this;
    for (let k = 0; k < size; k++) {
      const j = swap[k];
      if (j > k) [re[k], re[j], im[k], im[j]] = [re[j], re[k], im[j], im[k]];
    }
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half)
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half, c = cos[k * stride], s = sign * sin[k * stride];
          const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
    }
  }
}

/** Frames of audio and back: `transform` and `overlapAdd` of tada.models.phase; spectra are `[time][bin]`, flat. */
export class Frames {
  constructor(window, hop) {
    Object.assign(this, { window, hop, bins: window / 2 + 1, edge: (window - hop) / 2, fft: new Fourier(window) });
    this.taper = Float64Array.from({ length: window }, (_, n) => fround(0.5 - 0.5 * Math.cos((2 * PI * n) / window)));
  }
  /** Into `re` and `im`, of audio whose ends are reflected `edge` samples far. */
  transform(audio, re, im, edge = this.edge) {
    const { window, hop, bins, fft, taper } = this, last = audio.length - 1, time = re.length / bins;
    const at = (place) => audio[place < 0 ? -place : place > last ? 2 * last - place : place];
    for (let t = 0; t < time; t += 2) {
      for (let n = 0; n < window; n++) {
        fft.re[n] = at(t * hop + n - edge) * taper[n];
        fft.im[n] = t + 1 < time ? at((t + 1) * hop + n - edge) * taper[n] : 0;
      }
      fft.run(-1);
      for (let k = 0; k < bins; k++) {
        const m = (window - k) % window, one = t * bins + k, two = one + bins;
        re[one] = (fft.re[k] + fft.re[m]) / 2;
        im[one] = (fft.im[k] - fft.im[m]) / 2;
        if (t + 1 < time) {
          re[two] = (fft.im[k] + fft.im[m]) / 2;
          im[two] = (fft.re[m] - fft.re[k]) / 2;
        }
      }
    }
  }
  /** The audio whose transform is nearest to a spectrum. */
  overlapAdd(re, im) {
    const { window, hop, bins, edge, fft, taper } = this, time = re.length / bins;
    const total = new Float64Array(window + hop * (time - 1)), weight = new Float64Array(total.length);
    for (let t = 0; t < time; t += 2) {
      const pair = t + 1 < time, inner = (k) => k > 0 && k < bins - 1;
      for (let k = 0; k < bins; k++) {
        const one = t * bins + k, two = one + bins;
        const [a, b] = [re[one], inner(k) ? im[one] : 0]; // a real signal's ends have no imaginary part
        const [c, d] = pair ? [re[two], inner(k) ? im[two] : 0] : [0, 0];
        fft.re[k] = a - d;
        fft.im[k] = b + c;
        if (inner(k)) {
          fft.re[window - k] = a + d;
          fft.im[window - k] = c - b;
        }
      }
      fft.run(1);
      for (let n = 0; n < window; n++) {
        const place = t * hop + n;
        total[place] += (fft.re[n] / window) * taper[n];
        weight[place] += taper[n] * taper[n];
        if (!pair) continue;
        total[place + hop] += (fft.im[n] / window) * taper[n];
        weight[place + hop] += taper[n] * taper[n];
      }
    }
    return Float64Array.from({ length: hop * time }, (_, n) => total[edge + n] / Math.max(weight[edge + n], 1e-2));
  }
}

// ---- the phase stage

/** Phases of magnitudes `[time][bin]`, in radians, as `tada.models.phase.phases`: those of peaks advance. */
export function phases(magnitudes, bins, hop) {
  const time = magnitudes.length / bins, found = new Float32Array(magnitudes.length);
  const log = new Float32Array(bins + 2).fill(-30), advance = new Float32Array(bins), own = new Int32Array(bins);
  let turn = new Float32Array(bins);
  const window = 2 * (bins - 1), rate = fround(hop / window);
  for (let t = 0; t < time; t++) {
    for (let k = 0; k < bins; k++) log[k + 1] = Math.log(Math.max(magnitudes[t * bins + k], 1e-9));
    let below = -bins;
    const peaks = new Uint8Array(bins);
    for (let k = 0; k < bins; k++) {
      const [left, middle, right] = [log[k], log[k + 1], log[k + 2]];
      let shift = 0;
      if (middle > left && middle >= right) {
        [peaks[k], below] = [1, k];
        const bend = Math.min(fround(fround(left - fround(2 * middle)) + right), fround(-FLAT));
        shift = Math.max(-0.5, Math.min(0.5, fround(fround(0.5 * fround(left - right)) / bend)));
      }
      advance[k] = fround(((k * hop) % window) / window) + fround(rate * shift);
      own[k] = below;
    }
    for (let k = bins - 1, above = 2 * bins; k >= 0; k--) {
      if (peaks[k]) above = k;
      const nearest = k - own[k] <= above - k ? own[k] : above;
      own[k] = Math.max(0, Math.min(bins - 1, nearest));
    }
    const next = new Float32Array(bins);
    for (let k = 0; k < bins; k++) {
      const rest = fround(turn[own[k]] + advance[own[k]]) % 1;
      next[k] = rest < 0 ? rest + 1 : rest;
      found[t * bins + k] = fround(fround(2 * PI) * next[k]) + fround(PI) * Math.abs((k - own[k]) % 2);
    }
    turn = next;
  }
  return found;
}

/** Audio of magnitudes `[bin][time]`, flat: phases, then Griffin-Lim with momentum, as `PhaseStage.sound`. */
export function sound(spectrum, { window, hop, rounds, momentum }) {
  const frames = new Frames(window, hop), { bins } = frames, size = spectrum.length, time = size / bins;
  const magnitudes = Float32Array.from(spectrum, (_, n) => spectrum[(n % bins) * time + Math.floor(n / bins)]);
  const turns = phases(magnitudes, bins, hop);
  const [re, im, newRe, newIm, oldRe, oldIm] = Array.from({ length: 6 }, () => new Float64Array(size));
  for (let n = 0; n < size; n++) [re[n], im[n]] = [magnitudes[n] * Math.cos(turns[n]), magnitudes[n] * Math.sin(turns[n])];
  for (let round = 0; round < rounds; round++) {
    frames.transform(frames.overlapAdd(re, im), newRe, newIm);
    for (let n = 0; n < size; n++) {
      const x = newRe[n] + momentum * (newRe[n] - oldRe[n]), y = newIm[n] + momentum * (newIm[n] - oldIm[n]);
      const scale = magnitudes[n] / Math.max(Math.sqrt(x * x + y * y), 1e-9);
      [re[n], im[n], oldRe[n], oldIm[n]] = [x * scale, y * scale, newRe[n], newIm[n]];
    }
  }
  return Float32Array.from(frames.overlapAdd(re, im));
}

/** Audio at another rate, by the filters of `tada.models.ace_step.codec.resample`. */
export function resample(audio, { filters, reach, stride }) {
  const out = new Float32Array(Math.ceil((audio.length * filters.length) / stride));
  for (let n = 0; n < out.length; n++) {
    const filter = filters[n % filters.length], first = Math.floor(n / filters.length) * stride - reach;
    for (let tap = 0; tap < filter.length; tap++) out[n] += filter[tap] * (audio[first + tap] ?? 0);
  }
  return out;
}

// ---- what is shown

/** Levels 0 to 255 of a picture `[height][width]`, 80 dB, pitch upwards on a logarithmic scale from 60 Hz. */
export function picture(audio, rate, width = 256, height = 96) {
  const frames = new Frames(1024, audio.length / width), { bins } = frames;
  const [re, im] = [new Float64Array(width * bins), new Float64Array(width * bins)];
  frames.transform(audio, re, im, 512);
  const level = (t, k) => 10 * Math.log10(re[t * bins + k] ** 2 + im[t * bins + k] ** 2 + 1e-9);
  const rows = Array.from({ length: height }, (_, row) => {
    const hertz = 60 * (rate / 120) ** (1 - row / (height - 1));
    const place = Math.min((hertz * 1024) / rate, bins - 1.001), low = Math.floor(place);
    return Float32Array.from({ length: width }, (_, t) => level(t, low) + (place - low) * (level(t, low + 1) - level(t, low)));
  });
  const top = rows.reduce((most, row) => Math.max(most, ...row), -90);
  return Uint8ClampedArray.from(rows.flatMap((row) => [...row]), (value) => 255 * ((value - top) / 80 + 1));
}

/** The power spectrum `[bin][time]` that tada.minis.mel.log_mel takes. */
export function power(audio) {
  const frames = new Frames(1024, 256), { bins } = frames, time = 1 + Math.floor(audio.length / 256);
  const [re, im] = [new Float64Array(time * bins), new Float64Array(time * bins)];
  frames.transform(audio, re, im, 512);
  const values = Float32Array.from(re, (_, n) => {
    const place = (n % time) * bins + Math.floor(n / time);
    return re[place] ** 2 + im[place] ** 2;
  });
  return { values, bins, time };
}

/** Integrated loudness in LUFS, as `tada.audio.lufs`; `weights`: numerator and denominator of each filter of K-weighting. */
export function lufs(audio, rate, weights) {
  let heard = Float64Array.from(audio);
  for (const [[b0, b1, b2], [, a1, a2]] of weights) {
    let x1 = 0, x2 = 0, y1 = 0, y2 = 0;
    heard = heard.map((x) => {
      const y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2;
      (x2 = x1), (x1 = x), (y2 = y1), (y1 = y);
      return y;
    });
  }
  const size = Math.min(heard.length, Math.round(0.4 * rate)), hop = Math.round(0.1 * rate), blocks = [];
  for (let start = 0; start + size <= heard.length; start += hop) blocks.push(heard.subarray(start, start + size));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const level = (power) => -0.691 + 10 * Math.log10(Math.max(power, 1e-20));
  const loud = blocks.map((block) => block.reduce((sum, x) => sum + x * x, 0) / size).filter((power) => level(power) > SILENCE);
  return loud.length ? level(mean(loud.filter((power) => level(power) > level(mean(loud)) - 10))) : SILENCE;
}

/** A mono wav file, 16 bits a sample. */
export function wav(audio, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * audio.length));
  const text = (place, letters) => [...letters].forEach((letter, n) => view.setUint8(place + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * audio.length, true);
  text(8, "WAVEfmt ");
  [[16, 4], [1, 2], [1, 2], [rate, 4], [2 * rate, 4], [2, 2], [16, 2]].reduce((place, [value, bytes]) => {
    bytes === 4 ? view.setUint32(place, value, true) : view.setUint16(place, value, true);
    return place + bytes;
  }, 16);
  text(36, "data");
  view.setUint32(40, 2 * audio.length, true);
  audio.forEach((x, n) => view.setInt16(44 + 2 * n, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return new Blob([view], { type: "audio/wav" });
}
