// Pixels (uint8 height × width × channels) on a canvas. Browsers enlarge it; style.css says: without smoothing.

function rgba(pixels) {
  const colour = CHANNELS === 3;
  const out = new Uint8ClampedArray((pixels.length / CHANNELS) * 4);
  for (let i = 0, j = 0; j < out.length; i += CHANNELS, j += 4) {
    out[j] = pixels[i];
    out[j + 1] = pixels[colour ? i + 1 : i];
    out[j + 2] = pixels[colour ? i + 2 : i];
    out[j + 3] = 255;
  }
  return out;
}

function newCanvas() {
  return make("canvas", { width: WIDTH, height: HEIGHT, "aria-hidden": "true" });
}

/** The canvas for one sample shown alone. */
function enlarge(canvas) {
  [canvas.width, canvas.height] = [WIDTH * LARGE, HEIGHT * LARGE];
}

function paint(canvas, pixels, width = WIDTH) {
  canvas.getContext("2d").putImageData(new ImageData(rgba(pixels), width), 0, 0);
}

/** One of the samples that lie one after the other in an array. */
function sampleOf(samples, number) {
  return samples.subarray(number * SIZE, (number + 1) * SIZE);
}

/** A grid as one picture, like that of `gantool generate`: {pixels, width, height}. */
function gridPicture(images, columns) {
  const gap = 2, scale = Math.max(1, Math.round(48 / WIDTH));
  const lines = Math.ceil(images.length / columns);
  const width = columns * (WIDTH + gap) + gap, height = lines * (HEIGHT + gap) + gap;
  const out = new Uint8Array(width * scale * height * scale * CHANNELS).fill(64);
  images.forEach((pixels, number) => {
    const left = gap + (number % columns) * (WIDTH + gap), top = gap + Math.floor(number / columns) * (HEIGHT + gap);
    for (let y = 0; y < HEIGHT * scale; y++) {
      for (let x = 0; x < WIDTH * scale; x++) {
        const from = (Math.floor(y / scale) * WIDTH + Math.floor(x / scale)) * CHANNELS;
        const to = ((top * scale + y) * width * scale + left * scale + x) * CHANNELS;
        for (let c = 0; c < CHANNELS; c++) out[to + c] = pixels[from + c];
      }
    }
  });
  return { pixels: out, width: width * scale, height: height * scale };
}
