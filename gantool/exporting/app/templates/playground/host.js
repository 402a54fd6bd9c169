// The page's side of the engine: unpacks what the file carries, starts the engine, hands it jobs.

/** An error that is meant to be read: what happened, and what to do. */
class Trouble extends Error {
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

function checkBrowser() {
  const advice = "Use a browser of 2023 or later: Chrome or Edge 91, Firefox 113, Safari 16.4.";
  // a module of one function whose body is a SIMD instruction
  const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  if (typeof WebAssembly !== "object") {
    throw new Trouble("WebAssembly is missing or turned off in this browser.", `${advice} A “lockdown” or “strict” mode turns it off, too.`);
  }
  if (!WebAssembly.validate(Uint8Array.from(simd))) throw new Trouble("This browser has no WebAssembly SIMD.", advice);
  if (typeof DecompressionStream !== "function") {
    throw new Trouble("This browser can't unpack the model: it has no DecompressionStream.", advice);
  }
  if (typeof BigInt64Array !== "function" || typeof HTMLDialogElement !== "function") {
    throw new Trouble("This browser is too old for this page.", advice);
  }
}

/** The bytes of one of the file's payloads, which is emptied: it would take its size in memory a second time. */
async function unpacked(name) {
  const element = document.getElementById(`payload-${name}`);
  if (!element || !element.textContent) {
    throw new Trouble(`A part of this file is missing (${name}).`, "It was cut off or changed: copy it again, or export it again.");
  }
  try {
    const text = atob(element.textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    element.textContent = "";
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).arrayBuffer();
  } catch (error) {
    throw new Trouble(
      `A part of this file is damaged (${name}: ${error.message}).`,
      "It was cut off or changed: copy it again, or export it again.",
    );
  }
}

const blobUrl = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));

/** A worker that has said that it runs; rejects where the browser starts none from a file. */
function startWorker(source, receive) {
  return new Promise((resolve, reject) => {
    // a classic worker: browsers refuse modules made of a blob to pages of no origin, as file:// ones are
    const url = blobUrl(
      `${source.replaceAll("import.meta.url", "self.location.href")}\n;{const receive=(${makeEngine})(ort,(m,t)=>self.postMessage(m,t||[]));` +
        `self.onmessage=(e)=>receive(e.data);self.postMessage({type:"started"});}`,
    );
    const worker = new Worker(url);
    worker.onerror = (event) => {
      reject(new Error(event.message || "no worker"));
      receive({ type: "unusable", message: event.message || "its worker stopped" });
    };
    worker.onmessage = (event) => {
      if (event.data.type === "started") {
        URL.revokeObjectURL(url);
        resolve((message, transfer) => worker.postMessage(message, transfer || []));
      } else receive(event.data);
    };
  });
}

async function startHere(source, receive) {
  const url = blobUrl(`${source}\nexport default ort;`);
  const module = await import(url);
  URL.revokeObjectURL(url);
  return makeEngine(module.default, (message) => setTimeout(() => receive(message)));
}

/**
 * Starts the engine: {ask, times, place}.
 * ask(lane, job, onPixels(start, count, pixels, [H, W, C])) → true when done, false when a newer job took its place.
 * times: milliseconds an image of the last calls.
 */
async function startEngine(facts) {
  const waiting = new Map();
  const times = [];
  let send, number = 0, opened = { resolve() {}, reject() {} };

  function receive(message) {
    if (message.type === "ready") opened.resolve();
    else if (message.type === "unusable") {
      const trouble = new Trouble(`The model can't run: ${message.message}`, "Close other pages if memory is short, then reload this one.");
      opened.reject(trouble);
      for (const job of waiting.values()) job.reject(trouble);
    }
    const job = waiting.get(message.id);
    if (!job) return;
    if (message.type === "pixels") {
      if (times.push(message.ms) > 15) times.shift();
      job.onPixels(message.start, message.count, message.pixels, message.sides);
      return;
    }
    waiting.delete(message.id);
    if (message.type === "failed") job.reject(new Trouble(`Making the ${NOUN}s failed: ${message.message}`, "Reload the page."));
    else job.resolve(message.type === "done");
  }

  const [source, wasm, generator] = await Promise.all(["ort", "wasm", "generator"].map(unpacked));
  const latents = facts.latents.length ? await unpacked("latents") : null;
  const text = new TextDecoder().decode(source);
  let place = "worker";
  try {
    send = await startWorker(text, receive);
  } catch {
    place = "page";
    send = await startHere(text, receive);
  }
  await new Promise((resolve, reject) => {
    opened = { resolve, reject };
    send({ type: "open", facts, wasm, latents, generator }, [wasm, generator, ...(latents ? [latents] : [])]);
  });
  return {
    times,
    place,
    ask(lane, job, onPixels) {
      return new Promise((resolve, reject) => {
        const id = ++number;
        waiting.set(id, { onPixels, resolve, reject });
        send({ ...job, type: "job", id, lane });
      });
    },
  };
}
