// The code that makes a sample in a program, by the API of the app kits.

/** A whole number as JavaScript writes it without loss. */
const scriptNumber = (value) => (Number.isSafeInteger(Number(value)) ? String(value) : `${value}n`);
const cppNumber = (value) => (BigInt(value) === -(2n ** 63n) ? "INT64_MIN" : String(value));

function script(place, seed, first, label, values) {
  const given = values.map(([name, number]) => `${JSON.stringify(name)}: ${number}`).join(", ");
  const labels = (label === null ? "" : `, labels: ${label}`) + (given && `, values: { ${given} }`);
  return [
    'import { Generator } from "./generator.mjs";',
    "",
    `// generator.seeded.onnx lies ${place}`,
    "const generator = await Generator.open();",
    `const { data, shape } = await generator.sample({ seed: ${scriptNumber(seed)}, first: ${first}, count: 1${labels} });`,
  ].join("\n");
}

const inPython = (values) => {
  const given = values.map(([name, number]) => `${JSON.stringify(name)}: ${number}`).join(", ");
  return given && `, values={${given}}`;
};

const inCpp = (label, values) => {
  const given = values.map(([name, number]) => `{${JSON.stringify(name)}, ${number}}`).join(", ");
  if (given) return `, ${label === null ? "std::nullopt" : label}, {${given}}`;
  return label === null ? "" : `, ${label}`;
};

const LANGUAGES = {
  Python: (seed, first, label, values) => [
    "from generator import Generator",
    "",
    "# generator.seeded.onnx lies beside generator.py, or one folder up",
    "generator = Generator()",
    `${NOUN} = generator.sample(1, seed=${seed}, first=${first}${label === null ? "" : `, labels=${label}`}${inPython(values)})[0]`,
  ].join("\n"),
  Node: (...image) => script("beside generator.mjs, or one folder up", ...image),
  Web: (...image) => script("one folder above generator.mjs", ...image),
  "C++": (seed, first, label, values) => [
    '#include "generator.hpp"',
    "",
    "// generator.seeded.torchscript.pt lies where the program runs, or one folder up",
    "gantool::Generator generator;",
    `const torch::Tensor ${NOUN} = generator.sample(1, ${cppNumber(seed)}, ${first}${inCpp(label, values)})[0];`,
  ].join("\n"),
};

/**
 * Of image `first` of `seed`; `label` null: not conditional. A label that the kits take by themselves is left out.
 * @param values [[name, number]]: those that are not at their defaults
 */
function codeFor(language, seed, first, label, values = []) {
  const known = label === null || label === first % LABEL.classes;
  return LANGUAGES[language](seed, first, known ? null : label, values);
}

/** What a program does with a picture: `seed`, `label` and `values` as in codeFor. */
function translateCode(language, seed, label, values) {
  const [height, width, channels] = SOURCE.shape;
  const number = language === "Python" ? String : scriptNumber;
  const given = SEEDED && BigInt(seed) !== 0n ? [["seed", number(seed)]] : [];
  if (label) given.push(["labels", label]);
  const named = given.map(([name, value]) => `, ${name}=${value}`).join("") + inPython(values);
  const numbers = values.map(([name, value]) => `${JSON.stringify(name)}: ${value}`).join(", ");
  const fields = [...given.map(([name, value]) => `${name}: ${value}`), ...(numbers ? [`values: { ${numbers} }`] : [])].join(", ");
  const options = fields && `, { ${fields} }`;
  const places = given.length || numbers ? `, ${SEEDED ? cppNumber(seed) : 0}, 0${inCpp(label || null, values)}` : "";
  const size = SOURCE.multiple ? "" : `, ${width} × ${height} pixels`;
  return {
    Python: [
      "from generator import Generator, read_picture",
      "",
      "# generator.seeded.onnx lies beside generator.py, or one folder up",
      "generator = Generator()",
      `picture = read_picture("picture.png"${channels === 1 ? ", channels=1" : ""})  # uint8 (height, width, ${channels})${size}`,
      `result = generator.translate(picture${named})`,
    ],
    Node: [
      'import { readFile } from "node:fs/promises";',
      'import { Generator } from "./generator.mjs";',
      'import { decode } from "./png.mjs";',
      "",
      "// generator.seeded.onnx lies beside generator.mjs, or one folder up",
      "const generator = await Generator.open();",
      `const picture = decode(await readFile("picture.png")); // { data, width, height, channels }${size}`,
      `const result = await generator.translate(picture${options});`,
    ],
    Web: [
      'import { Generator } from "./generator.mjs";',
      "",
      "// generator.seeded.onnx lies one folder above generator.mjs",
      "const generator = await Generator.open();",
      'const canvas = document.querySelector("canvas"); // it shows the picture',
      'const picture = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);',
      `const result = (await generator.translate(picture${options})).toImageData();`,
    ],
    "C++": [
      '#include "generator.hpp"',
      "",
      "// generator.seeded.torchscript.pt lies where the program runs, or one folder up",
      "gantool::Generator generator;",
      "// bytes: those of your image library, row by row",
      `const torch::Tensor picture = torch::from_blob(bytes, {height, width, ${channels}}, torch::kUInt8);`,
      `const torch::Tensor result = generator.translate(picture${places});`,
    ],
  }[language].join("\n");
}

/** The buttons of the languages; code(language) → text. Returns show(). */
function makeCode(code) {
  let language = "Python";
  function show() {
    $("code").textContent = code(language);
    $("code-note").textContent = state.psi === 1 ? "" : `The code makes the ${NOUN} at ψ = 1.`;
  }
  $("copy-code").onclick = () => copy($("code").textContent, "Code");
  for (const each of Object.keys(LANGUAGES)) {
    const radio = make("input", { type: "radio", name: "language", value: each, checked: each === language });
    radio.onchange = () => {
      language = each;
      show();
    };
    $("languages").append(make("label", { class: "choice" }, radio, make("span", { text: each })));
  }
  return show;
}
