// The computing half: no DOM and nothing from other files, for its source text also goes into a worker.

/**
 * @param ort onnxruntime-web
 * @param post (message, transfer) => void: how results leave
 * @returns receive(message): "open", or a job {id, lane, ...}; a newer job of a lane takes the place of an older one
 */
function makeEngine(ort, post) {
  const BUDGET_MS = 60; // of one call: above it, whoever drags a slider notices
  const LARGEST = 32;
  const WHOLE = 64; // of a job that is to be made as the runtime in Python makes it
  const LANES = ["blend", "single", "grid", "ends", "row", "test"]; // first served first
  const jobs = new Map();
  let drawing, making, facts, running = false, perImage = 0;

  async function open(message) {
    facts = message.facts;
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1; // more need a server with special headers
    ort.env.wasm.wasmBinary = message.wasm;
    const options = { executionProviders: ["wasm"] };
    drawing = message.latents && (await ort.InferenceSession.create(new Uint8Array(message.latents), options));
    making = await ort.InferenceSession.create(new Uint8Array(message.generator), options);
    post({ type: "ready" });
  }

  /** The latents of images of one seed: [{name, shape, size, values}], values of count × size numbers. */
  async function draw(seed, indexes) {
    if (!drawing) return [];
    const index = BigInt64Array.from(indexes, BigInt);
    const result = await drawing.run({
      seed: new ort.Tensor("int64", BigInt64Array.of(BigInt(seed)), [1]),
      index: new ort.Tensor("int64", index, [index.length]),
    });
    return facts.latents.map(({ name, shape }) => {
      const size = shape.reduce((product, side) => product * side, 1);
      return { name, shape, size, values: result[name].data };
    });
  }

  /**
   * Latents [{name, shape, size, values}], a label each, numbers by name → the pixels, uint8 count × H × W × C.
   * `picture` {data, width, height, channels}: of the one image, where the generator takes one. `factors` {layer:
   * {unit: factor}}: of units that are changed, where the generator takes factors.
   */
  async function make(latents, labels, numbers, count, picture, factors = {}) {
    const feeds = {};
    for (const { name, shape, values } of latents) feeds[name] = new ort.Tensor("float32", values, [count, ...shape]);
    if (facts.label) feeds[facts.label] = new ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [count]);
    for (const [name, number] of Object.entries(numbers)) {
      feeds[name] = new ort.Tensor("float32", new Float32Array(count).fill(number), [count]);
    }
    for (const { name, size } of facts.layers || []) {
      const values = new Float32Array(count * size).fill(1);
      for (const [unit, factor] of Object.entries(factors[name] || {})) {
        for (let row = 0; row < count; row++) values[row * size + Number(unit)] = factor;
      }
      feeds[name] = new ort.Tensor("float32", values, [count, size]);
    }
    if (picture) feeds[facts.source] = new ort.Tensor("uint8", picture.data, [1, picture.height, picture.width, picture.channels]);
    const start = performance.now();
    const result = await making.run(feeds);
    const spent = (performance.now() - start) / count;
    perImage = perImage ? 0.7 * perImage + 0.3 * spent : spent;
    const { data, dims } = result[facts.output];
    return { pixels: data.slice(), sides: dims.slice(1), ms: spent };
  }

  /** Truncation scales one latent, never noise inputs. */
  const scaled = (latents, psi) => (psi === 1 ? latents : latents.map((part) => (
    part.name === facts.truncation ? { ...part, values: part.values.map((value) => value * psi) } : part
  )));

  /** From a to b on the sphere that normal latents lie near; on a line where the two point the same way. */
  function slerp(a, b, t) {
    if (t <= 0) return a;
    if (t >= 1) return b;
    let dot = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) { dot += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i]; }
    const cosine = Math.min(1, Math.max(-1, dot / Math.sqrt(aa * bb)));
    const angle = Math.acos(cosine), sine = Math.sin(angle);
    const lerp = !(aa && bb) || sine < 1e-3; // opposite ones have no shortest way on the sphere
    const left = lerp ? 1 - t : Math.sin((1 - t) * angle) / sine;
    const right = lerp ? t : Math.sin(t * angle) / sine;
    return a.map((value, i) => left * value + right * b[i]);
  }

  /** Images of a seed. */
  async function sampled(job, start, count) {
    const latents = await draw(job.seed, job.indexes.slice(start, start + count));
    return make(scaled(latents, job.psi), job.labels && job.labels.slice(start, start + count), job.values, count, job.picture, job.factors);
  }

  /** Images between two of them; a class can't be mixed, so each takes that of the nearer end. */
  async function blended(job, start, count) {
    if (!job.drawn) job.drawn = [await draw(job.a.seed, [job.a.index]), await draw(job.b.seed, [job.b.index])];
    const at = job.at.slice(start, start + count);
    const latents = job.drawn[0].map((part, i) => {
      const values = new Float32Array(count * part.size);
      at.forEach((t, row) => values.set(slerp(part.values, job.drawn[1][i].values, t), row * part.size));
      return { ...part, values };
    });
    return make(scaled(latents, job.psi), at.map((t) => (t < 0.5 ? job.a.label : job.b.label)), job.values, count);
  }

  async function step(job) {
    const fits = perImage ? Math.floor(BUDGET_MS / perImage) : 2;
    const largest = job.whole ? WHOLE : Math.min(LARGEST, Math.max(1, fits));
    const total = job.at ? job.at.length : job.indexes.length;
    const count = Math.min(largest, total - job.done);
    const { pixels, sides, ms } = await (job.at ? blended : sampled)(job, job.done, count);
    post({ type: "pixels", id: job.id, start: job.done, count, pixels, sides, ms }, [pixels.buffer]);
    job.done += count;
    return job.done === total;
  }

  async function work() {
    running = true;
    for (;;) {
      const lane = LANES.find((name) => jobs.has(name));
      if (!lane) break;
      const job = jobs.get(lane);
      let over = true;
      try {
        over = await step(job);
        if (over) post({ type: "done", id: job.id });
      } catch (error) {
        post({ type: "failed", id: job.id, message: String((error && error.message) || error) });
      }
      if (over && jobs.get(lane) === job) jobs.delete(lane);
      await new Promise((resolve) => setTimeout(resolve)); // newer jobs come in, and a page without a worker paints
    }
    running = false;
  }

  return async function receive(message) {
    if (message.type === "open") {
      try {
        await open(message);
      } catch (error) {
        post({ type: "unusable", message: String((error && error.message) || error) });
      }
      return;
    }
    const older = jobs.get(message.lane);
    if (older) post({ type: "dropped", id: older.id });
    jobs.set(message.lane, { ...message, done: 0 });
    if (!running) work();
  };
}
