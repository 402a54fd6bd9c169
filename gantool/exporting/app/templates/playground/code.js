// The code that makes an image in a program, by the API of the app kits.

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
    `image = generator.sample(1, seed=${seed}, first=${first}${label === null ? "" : `, labels=${label}`}${inPython(values)})[0]`,
  ].join("\n"),
  Node: (...image) => script("beside generator.mjs, or one folder up", ...image),
  Web: (...image) => script("one folder above generator.mjs", ...image),
  "C++": (seed, first, label, values) => [
    '#include "generator.hpp"',
    "",
    "// generator.seeded.torchscript.pt lies where the program runs, or one folder up",
    "gantool::Generator generator;",
    `const torch::Tensor image = generator.sample(1, ${cppNumber(seed)}, ${first}${inCpp(label, values)})[0];`,
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
