// From a file, or whatever the browser can draw, to the pixels that the network takes.

const SIGNATURES = [
  ["JPEG", 0, "\xff\xd8\xff"], ["PNG", 0, "\x89PNG\r\n\x1a\n"], ["GIF", 0, "GIF8"], ["WEBP", 8, "WEBP"],
  ["AVIF", 4, "ftypavi"], ["BMP", 0, "BM"], ["TIFF", 0, "II*\0"], ["TIFF", 0, "MM\0*"], ["HEIC", 4, "ftyphei"],
  ["HEIC", 4, "ftypmif1"], ["JPEG XL", 0, "\xff\x0a"], ["PDF", 0, "%PDF"], ["zip", 0, "PK\x03\x04"],
];

/** Why a picture cannot be read: reason is "empty", "not a picture", "truncated", "unreadable" or "too large". */
class PictureError extends Error {
  constructor(reason, detail) {
    super(`${reason}: ${detail}`);
    this.reason = reason;
    this.detail = detail;
  }
}

const latin = (bytes) => String.fromCharCode(...bytes);

function formatOf(bytes) {
  const head = latin(bytes.subarray(0, 24));
  return SIGNATURES.find(([, offset, signature]) => head.startsWith(signature, offset))?.[0] ?? "";
}

/** Follow a JPEG from marker to marker to its end; what lies behind it, the film of a moving photo say, does not matter. */
function reachesEnd(bytes) {
  for (let at = 2; at + 1 < bytes.length; ) {
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker === 0xff) at++;
    else if (marker === 0xd9) return true;
    else if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2;
    else at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
  }
  return false;
}

/** Say whether a file stops before the place where its format ends: browsers show what there is, and grey below. */
function endsEarly(bytes, format) {
  if (format === "JPEG") return !reachesEnd(bytes);
  if (format === "PNG") return !latin(bytes.subarray(-64)).includes("IEND") && !findIend(bytes);
  if (format === "WEBP") return bytes.length < new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true) + 8;
  return false;
}

function findIend(bytes) {
  for (let at = bytes.length - 4; at >= 0; at--) if (latin(bytes.subarray(at, at + 4)) === "IEND") return true;
  return false;
}

/** A type that lies, or none, must not decide: the bytes do. */
function decoded(bytes) {
  return createImageBitmap(new Blob([bytes]), {
    imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "default",
  });
}

/** Let the browser decode a file: upright, in sRGB. */
async function bitmapOf(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (!bytes.length) throw new PictureError("empty", "0 bytes");
  const format = formatOf(bytes);
  if (endsEarly(bytes, format)) throw new PictureError("truncated", `${format}: no end marker`);
  try {
    const bitmap = await decoded(bytes), orientation = format === "WEBP" ? webpOrientation(bytes) : 1;
    return orientation === 1 || (await turnsWebp()) ? bitmap : turned(bitmap, orientation);
  } catch (error) {
    if (!format) throw new PictureError("not a picture", `it begins with ${JSON.stringify(latin(bytes.subarray(0, 8)))}`);
    throw new PictureError("unreadable", `${format}: this browser cannot decode it`);
  }
}

// Two pixels side by side, with an EXIF note to turn them: browsers do not agree on heeding it in WebP.
const TURNED_WEBP = 
  "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=";
let turnsIt = null;

/** Say whether this browser turns a WebP as its EXIF note wants it; all turn a JPEG. */
function turnsWebp() {
  turnsIt ??= decoded(Uint8Array.from(atob(TURNED_WEBP), (one) => one.charCodeAt(0))).then(({ width }) => width === 1);
  return turnsIt;
}

/** Draw a picture as its EXIF orientation, 1 to 8, wants it, where the browser did not. */
function turned(bitmap, orientation) {
  const { width: W, height: H } = bitmap, canvas = document.createElement("canvas");
  Object.assign(canvas, orientation >= 5 ? { width: H, height: W } : { width: W, height: H });
  const moves = [[1, 0, 0, 1, 0, 0], [-1, 0, 0, 1, W, 0], [-1, 0, 0, -1, W, H], [1, 0, 0, -1, 0, H],
    [0, 1, 1, 0, 0, 0], [0, 1, -1, 0, H, 0], [0, -1, -1, 0, H, W], [0, -1, 1, 0, 0, W]];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.setTransform(...moves[orientation - 1]);
  context.drawImage(bitmap, 0, 0);
  return Object.assign(canvas, { close: () => bitmap.close() });
}

/** Read the EXIF orientation of a WebP; a damaged note counts as none. */
function webpOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2)) {
    if (latin(bytes.subarray(at, at + 4)) === "EXIF") {
      return exifOrientation(bytes.slice(at + 8, at + 8 + view.getUint32(at + 4, true)));
    }
  }
  return 1;
}

function exifOrientation(bytes) {
  try {
    const base = latin(bytes.subarray(0, 6)) === "Exif\0\0" ? 6 : 0, view = new DataView(bytes.buffer, base);
    const little = latin(bytes.subarray(base, base + 2)) === "II", directory = view.getUint32(4, little);
    for (let n = view.getUint16(directory, little), at = directory + 2; n > 0; n--, at += 12) {
      if (view.getUint16(at, little) === 0x0112) {
        const turn = view.getUint16(at + 8, little);
        return turn >= 1 && turn <= 8 ? turn : 1;
      }
    }
  } catch {
    // It ends too early.
  }
  return 1;
}

/** Make a reader of rows for something that can be drawn, with its ground behind what is transparent. */
function rowsOfDrawing(drawing, W, background) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true, colorSpace: "srgb" });
  return (top, count) => {
    if (canvas.width !== W || canvas.height !== count) Object.assign(canvas, { width: W, height: count });
    context.fillStyle = `rgb(${background.join(" ")})`;
    context.fillRect(0, 0, W, count);
    context.drawImage(drawing, 0, top, W, count, 0, 0, W, count);
    return context.getImageData(0, 0, W, count).data;
  };
}

/** Name what something is. An object of another page, which may hold this one in a frame, has classes of its own. */
const kindOf = (input) => Object.prototype.toString.call(input).slice(8, -1);

/**
 * Bring anything to the network's input, Uint8Array [size, size, 3].
 *
 * A Blob is decoded; of ImageData the pixels are taken as they are; bitmaps, canvases, videos and images are drawn; a
 * Uint8Array of size * size * 3 is such an input already.
 */
async function prepared(input, about) {
  const size = about.size_px, kind = kindOf(input);
  if (kind === "Uint8Array") {
    if (input.length === size * size * 3) return input;
    throw new TypeError(`${size} x ${size} x 3 bytes are taken; got ${input.length}`);
  }
  if (kind === "ImageData") {
    const { data, width } = input;
    return shrink((top, count) => data.slice(top * width * 4, (top + count) * width * 4), input.height, width, about);
  }
  const drawing = kind === "Blob" || kind === "File" ? await bitmapOf(input) : input;
  try {
    const W = drawing.videoWidth || drawing.naturalWidth || drawing.width;
    const H = drawing.videoHeight || drawing.naturalHeight || drawing.height;
    if (W * H > about.max_pixels) {
      throw new PictureError("too large", `${W} x ${H} pixels; data.max_pixels is ${about.max_pixels}`);
    }
    return shrink(rowsOfDrawing(drawing, W, about.background), H, W, about);
  } finally {
    if (drawing !== input) drawing.close();
  }
}
