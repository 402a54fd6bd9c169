// A wall of generated images that changes one tile at a time. Click for another seed.
//
//   gantool export --app kit
//   cp index.html sketch.mjs kit/web/ && cp node_modules/p5/lib/p5.min.js kit/web/     (npm install p5)
//   python -m http.server --directory kit, then open http://localhost:8000/web/index.html
import { Generator } from "./generator.mjs";

const COLUMNS = 8;
const TILE = 64; // pixels

new p5((sketch) => {
  let generator;
  let seed = 7;
  let next = 0; // number of the image that is drawn next

  sketch.setup = () => {
    sketch.createCanvas(COLUMNS * TILE, COLUMNS * TILE);
    sketch.noSmooth();
    sketch.noLoop();
    Generator.open().then((opened) => {
      generator = opened;
      show();
    });
  };

  sketch.mousePressed = () => {
    seed += 1;
  };

  async function show() {
    const images = await generator.sample({ seed, first: next, count: 1 });
    const [, height, width] = images.shape;
    const tile = sketch.createImage(width, height);
    tile.loadPixels();
    tile.pixels.set(images.toImageData(0).data);
    tile.updatePixels();
    const place = next % COLUMNS ** 2;
    sketch.image(tile, (place % COLUMNS) * TILE, Math.floor(place / COLUMNS) * TILE, TILE, TILE);
    next += 1;
    document.title = `${next} images`;
    requestAnimationFrame(show);
  }
});
