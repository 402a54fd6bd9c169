// Pictures as generators take them: { data: bytes row by row, width, height, channels }. No dependency.

/** The picture with `channels`, 1: grey or 3: RGB. One that has four (or does not say) is RGBA: it goes over white. */
export function withChannels({ data, width, height, channels: has = 4 }, channels) {
  if (data.length !== width * height * has || !data.length) {
    throw new RangeError(`The picture has ${data.length} bytes: ${width} × ${height} × ${has} are needed.`);
  }
  if (has === channels) return { data, width, height, channels };
  const out = new Uint8Array(width * height * channels);
  const over = (value, alpha) => { // rounded as Pillow does
    const sum = value * alpha + 255 * (255 - alpha) + 128;
    return (sum + (sum >> 8)) >> 8;
  };
  const rgb = [0, 0, 0];
  for (let from = 0, to = 0; from < data.length; from += has, to += channels) {
    const alpha = has === 4 ? data[from + 3] : 255;
    for (let c = 0; c < 3; c++) rgb[c] = over(data[has === 1 ? from : from + c], alpha);
    if (channels === 1) out[to] = (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16;
    else for (let c = 0; c < 3; c++) out[to + c] = rgb[c];
  }
  return { data: out, width, height, channels };
}

/** Cut on the right and below, or filled up by the last column and row. */
export function framed({ data, width, height, channels }, wide, high) {
  if (wide === width && high === height) return { data, width, height, channels };
  const out = new Uint8Array(wide * high * channels);
  for (let y = 0; y < high; y++) {
    const row = data.subarray(Math.min(y, height - 1) * width * channels).subarray(0, Math.min(wide, width) * channels);
    out.set(row, y * wide * channels);
    for (let x = width; x < wide; x++) out.set(row.subarray(-channels), (y * wide + x) * channels);
  }
  return { data: out, width: wide, height: high, channels };
}

/** A picture as the model `manifest` takes it, and what to cut of its result: { picture, cut(result) }. */
export function fitted(given, manifest) {
  const { shape: [height, width, channels], multiple } = manifest.inputs.find((input) => input.distribution === "data");
  const picture = withChannels(given, channels);
  if (!multiple && (picture.width !== width || picture.height !== height)) {
    throw new RangeError(`The picture has ${picture.width} × ${picture.height} pixels: this generator takes ${width} × ${height}.`);
  }
  const [high, wide] = manifest.output.shape;
  const up = (side) => Math.ceil(side / (multiple || 1)) * (multiple || 1);
  return {
    picture: framed(picture, up(picture.width), up(picture.height)),
    cut: (result) => framed(result, Math.ceil((picture.width * wide) / width), Math.ceil((picture.height * high) / height)),
  };
}

/** The test card of this number, which golden images are made of. */
export function card(number, [height, width, channels]) {
  const data = new Uint8Array(height * width * channels);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        data[at++] = (x * 7 + y * 5 + c * 53 + (number % 256) * 101) ^ ((x >> 3) * 37 + (y >> 3) * 91);
      }
    }
  }
  return { data, width, height, channels };
}
