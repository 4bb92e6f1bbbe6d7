// Answers pictures with a TensorFlow.js graph model, in node. On stdin: N, H, W, C as 32-bit numbers, then the bytes of
// the pictures. On stdout: the length of a JSON text, the text, then the outputs as 32-bit floats.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const [environment, folder, names] = process.argv.slice(2);
const load = createRequire(path.join(environment, "package.json"));

// stdout is for answers only.
for (const kind of ["log", "info", "warn", "debug"]) console[kind] = () => {};

function take(size) {
  const buffer = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    let got = 0;
    try {
      got = fs.readSync(0, buffer, at, size - at, null);
    } catch (error) {
      if (error.code === "EAGAIN") continue;
      if (error.code !== "EOF") throw error;
    }
    if (got === 0) process.exit(0);
    at += got;
  }
  return buffer;
}

function give(buffer) {
  for (let at = 0; at < buffer.length; ) {
    try {
      at += fs.writeSync(1, buffer, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function reply(about, arrays) {
  const text = Buffer.from(JSON.stringify(about));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  give(Buffer.concat([length, text, ...arrays.map((one) => Buffer.from(one.buffer, one.byteOffset, one.byteLength))]));
}

function readModel() {
  const model = JSON.parse(fs.readFileSync(path.join(folder, "model.json"), "utf8"));
  const shards = model.weightsManifest.flatMap((group) => group.paths);
  const weights = Buffer.concat(shards.map((name) => fs.readFileSync(path.join(folder, name))));
  const weightData = weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length);
  const weightSpecs = model.weightsManifest.flatMap((group) => group.weights);
  return { ...model, weightSpecs, weightData };
}

function answer(tf, model, image) {
  return tf.tidy(() => {
    const found = model.execute({ image }, JSON.parse(names).map((name) => model.modelSignature.outputs[name].name));
    const tensors = Array.isArray(found) ? found : [found];
    return tensors.map((one) => ({ shape: one.shape, values: Float32Array.from(one.dataSync()) }));
  });
}

async function main() {
  const tf = load("@tensorflow/tfjs-core");
  load("@tensorflow/tfjs-backend-cpu");
  const wasm = load("@tensorflow/tfjs-backend-wasm");
  const { loadGraphModel } = load("@tensorflow/tfjs-converter");
  wasm.setWasmPaths(path.join(path.dirname(load.resolve("@tensorflow/tfjs-backend-wasm")), path.sep));
  if (!(await tf.setBackend("wasm"))) await tf.setBackend("cpu");
  const model = await loadGraphModel({ load: async () => readModel() });
  reply({ backend: tf.getBackend() }, []);
  for (;;) {
    const [N, H, W, C] = new Uint32Array(Uint8Array.from(take(16)).buffer);
    const image = tf.tensor4d(Int32Array.from(take(N * H * W * C)), [N, H, W, C], "int32");
    try {
      const found = answer(tf, model, image);
      reply({ shapes: found.map((one) => one.shape) }, found.map((one) => one.values));
    } catch (error) {
      reply({ error: String(error) }, []);
    }
    image.dispose();
  }
}

main().catch((error) => {
  reply({ error: String(error) }, []);
  process.exit(1);
});
