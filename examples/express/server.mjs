// Images of an app kit's generator over HTTP, with Node and Express.
//
//   gantool export --app kit
//   cp server.mjs kit/node/ && cd kit/node && npm install --ignore-scripts && npm install express
//   node server.mjs
//   curl "http://localhost:3000/images/7/0" -o image.bin
import { createHash } from "node:crypto";
import express from "express";
import { Generator } from "./generator.mjs";

const generator = await Generator.open();
await generator.selfTest();
const { weights_sha256: weights } = generator.manifest;
const app = express();

app.get("/about", (request, response) => {
  const { architecture, licence, output } = generator.manifest;
  response.json({ architecture: architecture.name, shape: output.shape, licence });
});

// The pixels of image `index` of `seed`: bytes, row by row, channels last; the shape is in a header.
app.get("/images/:seed/:index", async (request, response) => {
  const [seed, first] = [request.params.seed, request.params.index].map(whole);
  const label = request.query.label === undefined ? null : whole(request.query.label);
  const tag = createHash("sha256").update(`${weights}/${seed}/${first}/${label}`).digest("hex").slice(0, 32);
  response.set({ ETag: `"${tag}"`, "Cache-Control": "public, max-age=31536000, immutable" });
  if (request.get("If-None-Match") === `"${tag}"`) return response.status(304).end();
  const { data, shape } = await generator.sample({ seed, first, count: 1, labels: label });
  response.set("X-Shape", shape.slice(1).join("x")).type("application/octet-stream").send(Buffer.from(data));
});

// What the generator or `whole` refuses is the client's fault.
app.use((error, request, response, next) => {
  const wrong = error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError;
  response.removeHeader("ETag");
  response.removeHeader("Cache-Control");
  response.status(wrong ? 400 : 500).json({ detail: wrong ? error.message : "internal error" });
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log(`port ${server.address().port}`));

/** A whole number of any size, as BigInt. */
function whole(text) {
  if (!/^-?\d+$/.test(text)) throw new RangeError(`${text} is not a whole number`);
  return BigInt(text);
}
