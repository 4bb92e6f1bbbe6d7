// The network: LiteRT in WebAssembly, one thread, everything from this page.

/** Read a data block of the page, base64 of gzip. */
async function unpacked(id) {
  const text = document.getElementById(id).textContent.trim();
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  const step = 2 ** 20; // a multiple of 4
  let length = 0;
  for (let at = 0; at < text.length; at += step) {
    const piece = atob(text.slice(at, at + step));
    for (let i = 0; i < piece.length; i++) bytes[length++] = piece.charCodeAt(i);
  }
  const stream = new Blob([bytes.subarray(0, length)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Put all reds first, then all greens, then all blues. */
function planes(pixels) {
  const N = pixels.length / 3, out = new Uint8Array(pixels.length);
  for (let at = 0; at < pixels.length; at++) out[(at % 3) * N + Math.floor(at / 3)] = pixels[at];
  return out;
}

/** A vector of the runtime as a list. */
const listed = (vector) => Array.from({ length: vector.size() }, (_, at) => vector.get(at));

// One function with an instruction of relaxed SIMD.
const RELAXED = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253,
  15, 65, 2, 253, 15, 253, 128, 2, 11]);

class Model {
  static async load(card) {
    const quiet = () => {}, variant = RUNTIMES.relaxed && WebAssembly.validate(RELAXED) ? "relaxed" : "plain";
    const [binary, bytes] = await Promise.all([unpacked(`runtime-${variant}`), unpacked("model")]);
    for (const block of document.querySelectorAll('script[type="text/plain"]')) block.remove(); // it is much text
    const wasm = await RUNTIMES[variant]({ wasmBinary: binary, print: quiet, printErr: quiet });
    return new Model(wasm, await Model.compiled(wasm, bytes), card);
  }

  static async compiled(wasm, bytes) {
    const environment = wasm.LiteRtEnvironment.create(null);
    const place = wasm._malloc(bytes.length); // the runtime reads the weights there as long as it lives
    wasm.HEAPU8.set(bytes, place);
    const model = wasm.loadModel(environment, place, bytes.length);
    const options = { environment, accelerator: "wasm", cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} };
    return { environment, model, compiled: await wasm.compileModel(environment, model, options) };
  }

  constructor(wasm, parts, card) {
    Object.assign(this, { wasm, ...parts, card });
    const type = this.model.getInputTensorType(0, 0);
    const { LiteRtTensorBuffer, LiteRtTensorBufferType } = wasm;
    this.input = LiteRtTensorBuffer.createManaged(
      this.environment, LiteRtTensorBufferType.HOST_MEMORY, type, type.bytes());
    type.delete();
    this.names = listed(this.model.getSignature(0).outputNames());
  }

  /** Answer one picture, Uint8Array [size, size, 3]: the outputs of the card by name, each a Float32Array. */
  async run(pixels) {
    const { wasm } = this, { READ, WRITE } = wasm.LiteRtTensorBufferLockMode;
    const place = this.input.lock(WRITE);
    wasm.HEAPU8.set(this.card.input.shape[1] === 3 ? planes(pixels) : pixels, place);
    this.input.unlock();
    const buffers = await this.compiled.run(0, [this.input]), found = {};
    buffers.forEach((buffer, at) => {
      const from = buffer.lock(READ);
      found[this.names[at]] = new Float32Array(wasm.HEAPU8.slice(from, from + buffer.packedSize()).buffer);
      buffer.unlock();
      buffer.delete();
    });
    return found;
  }
}
