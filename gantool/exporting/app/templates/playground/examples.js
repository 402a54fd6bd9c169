// Simple pictures to start from, on a square of 100 × 100 and what is around it: [shape, colour, numbers…].

const WIDE = 1e4; // beyond every canvas

const EXAMPLES = {
  House: [
    ["box", "#9fd3f5", -WIDE, -WIDE, 3 * WIDE, 3 * WIDE], ["box", "#7cb25c", -WIDE, 74, 3 * WIDE, WIDE], ["oval", "#f6c945", 84, 16, 9, 9],
    ["box", "#e9dcc3", 22, 44, 56, 38], ["area", "#a8452f", 16, 45, 50, 18, 84, 45], ["box", "#6b4a2f", 44, 60, 13, 22],
    ["box", "#4a7fb5", 28, 52, 11, 11], ["box", "#4a7fb5", 62, 52, 11, 11],
  ],
  Face: [
    ["box", "#d9dee6", -WIDE, -WIDE, 3 * WIDE, 3 * WIDE], ["oval", "#5a3a22", 50, 42, 31, 33], ["oval", "#efc4a0", 50, 53, 26, 32],
    ["oval", "#ffffff", 40, 47, 6, 4], ["oval", "#ffffff", 60, 47, 6, 4], ["oval", "#2b4c6f", 40, 47, 2.6, 2.6],
    ["oval", "#2b4c6f", 60, 47, 2.6, 2.6], ["line", "#5a3a22", 34, 40, 40, 38, 46, 40], ["line", "#5a3a22", 54, 40, 60, 38, 66, 40],
    ["line", "#c98f6c", 50, 50, 47, 60, 52, 61], ["line", "#b5443c", 40, 70, 46, 73, 54, 73, 60, 70],
  ],
  Cat: [ // lines alone, for what was trained on edges
    ["box", "#ffffff", -WIDE, -WIDE, 3 * WIDE, 3 * WIDE],
    ["line", "#000000", 26, 46, 22, 16, 40, 28, 60, 28, 78, 16, 74, 46, 80, 60, 70, 78, 50, 85, 30, 78, 20, 60, 26, 46],
    ["line", "#000000", 33, 49, 38, 45, 44, 49, 38, 53, 33, 49], ["line", "#000000", 56, 49, 62, 45, 67, 49, 62, 53, 56, 49],
    ["line", "#000000", 46, 60, 54, 60, 50, 65, 46, 60], ["line", "#000000", 50, 65, 50, 69, 43, 73],
    ["line", "#000000", 50, 69, 57, 73], ["line", "#000000", 36, 64, 8, 58], ["line", "#000000", 36, 68, 8, 72],
    ["line", "#000000", 64, 64, 92, 58], ["line", "#000000", 64, 68, 92, 72],
  ],
};

/** Draws the square in the middle of a canvas, as large as it goes. */
function drawShapes(context, shapes) {
  const { width, height } = context.canvas, scale = Math.min(width, height) / 100;
  context.save();
  context.translate((width - 100 * scale) / 2, (height - 100 * scale) / 2);
  context.scale(scale, scale);
  context.lineWidth = Math.max(1.6, 1.3 / scale); // more than a pixel
  context.lineCap = context.lineJoin = "round";
  for (const [shape, colour, ...numbers] of shapes) {
    context.fillStyle = context.strokeStyle = colour;
    context.beginPath();
    if (shape === "box") context.rect(...numbers);
    else if (shape === "oval") context.ellipse(...numbers, 0, 0, 2 * Math.PI);
    else for (let i = 0; i < numbers.length; i += 2) context.lineTo(numbers[i], numbers[i + 1]);
    if (shape === "line") context.stroke();
    else context.fill();
  }
  context.restore();
}
