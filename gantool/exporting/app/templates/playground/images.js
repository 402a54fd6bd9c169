// How images are shown and saved. sounds.js and volumes.js have the same functions.

const paintSample = (canvas, pixels) => paint(canvas, pixels);

/** @param stem of the file's name; words and seeds: see provenance */
const saveSamples = (images, columns, stem, words, seeds) => savePng(gridPicture(images, columns), `${stem}.png`, words, seeds);
const saveSample = (pixels, stem, words, seeds) => savePng({ pixels, width: WIDTH, height: HEIGHT }, `${stem}.png`, words, seeds);
