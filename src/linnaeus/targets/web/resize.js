// Resizing, to the last bit as the training's decoder does it: cut, filter the columns, then the rows, each pass rounded
// to whole numbers. The weights are whole numbers too, as in PyTorch's resizing of bytes.

const LONGEST = 2; // a longer picture loses its ends

/** Round half to even, as Python does. */
function rounded(value) {
  const below = Math.floor(value), gap = value - below;
  return gap > 0.5 || (gap === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** Say for one direction: first used pixel, how many are used, the size after resizing, the first kept place. */
function planOf(H, W, about) {
  const size = about.size_px;
  if (about.resize === "squash") {
    return { y: { first: 0, used: H, wanted: size, begin: 0 }, x: { first: 0, used: W, wanted: size, begin: 0 } };
  }
  if (about.resize === "pad") {
    const side = (used) => {
      const wanted = Math.max(1, rounded((size * used) / Math.max(H, W)));
      return { first: 0, used, wanted, begin: -Math.floor((size - wanted) / 2) };
    };
    return { y: side(H), x: side(W) };
  }
  const high = Math.min(H, LONGEST * W), wide = Math.min(W, LONGEST * H), short = about.resize_px;
  const h = high <= wide ? short : Math.trunc((short * high) / wide);
  const w = high <= wide ? Math.trunc((short * wide) / high) : short;
  const side = (given, used, wanted) =>
    ({ first: Math.floor((given - used) / 2), used, wanted, begin: rounded((wanted - size) / 2) });
  return { y: side(H, high, h), x: side(W, wide, w) };
}

/** Keys' cubic with a = -0.5 (IEEE TASSP 29, 1981), or the triangle. */
const FILTERS = {
  bicubic: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0),
  bilinear: (x) => (x < 1 ? 1 - x : 0),
};
const REACH = { bicubic: 2, bilinear: 1 };

/** For each of `wanted` places: the first pixel that counts, and how much it and the next ones count. */
function weightsOf(used, wanted, kind) {
  if (used === wanted) return { shift: 0, places: Array.from({ length: wanted }, (_, at) => [at, [1]]) };
  if (kind === "nearest") return { shift: 0, places: nearestOf(used, wanted) };
  const scale = used / wanted, support = REACH[kind] * Math.max(scale, 1), narrow = scale >= 1 ? 1 / scale : 1;
  const filter = FILTERS[kind], places = [];
  let largest = 0;
  for (let at = 0; at < wanted; at++) {
    const centre = scale * (at + 0.5);
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), used);
    const weights = [];
    for (let j = 0; j < end - first; j++) weights.push(filter(Math.abs((j + (first - centre) + 0.5) * narrow)));
    const total = weights.reduce((sum, one) => sum + one, 0);
    if (total !== 0) weights.forEach((one, j) => (weights[j] = one / total));
    largest = Math.max(largest, ...weights);
    places.push([first, weights]);
  }
  let shift = 0; // as many bits as let the largest weight stay below 2 ** 15
  while (shift < 22 && Math.trunc(0.5 + largest * 2 ** (shift + 1)) < 2 ** 15) shift++;
  for (const [, weights] of places) {
    weights.forEach((one, j) => (weights[j] = Math.trunc(one * 2 ** shift + (one < 0 ? -0.5 : 0.5))));
  }
  return { shift, places };
}

/** Choose the pixels that Pillow's NEAREST picks: it adds up the steps, with their rounding. */
function nearestOf(used, wanted) {
  const step = used / wanted, places = [];
  for (let at = 0, here = step / 2; at < wanted; at++, here += step) {
    places.push([Math.min(Math.trunc(here), used - 1), [1]]);
  }
  return places;
}

/** The kept places of a direction, flat: for place k the weights [start[k], start[k + 1]) of pixels from first[k] on. */
function kept(side, size, kind) {
  const { shift, places } = weightsOf(side.used, side.wanted, kind);
  const from = Math.max(0, -side.begin), begin = Math.max(0, side.begin);
  const here = places.slice(begin, begin + size - from);
  const start = new Int32Array(here.length + 1), first = new Int32Array(here.length);
  here.forEach(([one, weights], k) => {
    first[k] = one + side.first;
    start[k + 1] = start[k] + weights.length;
  });
  return { shift, from, count: here.length, first, start, weights: Int32Array.from(here.flatMap((one) => one[1])) };
}

/** Red, green and blue behind pictures and around them; of a grey network the luma of it. */
function groundOf(about) {
  const [red, green, blue] = about.background;
  return about.channels === 1 ? Array(3).fill(luma(red, green, blue)) : [red, green, blue];
}

function luma(red, green, blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16;
}

/**
 * Bring a picture to what the network takes.
 *
 * @param rowsOf (top, count) => the pixels of some rows, RGBA [count, W, 4].
 * @returns Uint8Array [size, size, 3].
 */
function shrink(rowsOf, H, W, about) {
  const size = about.size_px, plan = planOf(H, W, about);
  const x = kept(plan.x, size, about.interpolation), y = kept(plan.y, size, about.interpolation);
  const top = y.first[0], bottom = y.first[y.count - 1] + y.start[y.count] - y.start[y.count - 1];
  const narrow = new Uint8Array((bottom - top) * x.count * 3);
  const strip = Math.max(1, Math.floor(2 ** 20 / W));
  for (let row = top; row < bottom; row += strip) {
    const count = Math.min(strip, bottom - row), pixels = rowsOf(row, count);
    if (about.channels === 1) turnGrey(pixels);
    for (let r = 0; r < count; r++) across(pixels, r * W * 4, x, narrow, (row - top + r) * x.count * 3);
  }
  const small = new Uint8Array(size * size * 3), ground = groundOf(about);
  if (about.resize === "pad") for (let at = 0; at < small.length; at++) small[at] = ground[at % 3];
  for (let k = 0; k < y.count; k++) down(narrow, top, x.count * 3, y, k, small, ((k + y.from) * size + x.from) * 3);
  return small;
}

function turnGrey(pixels) {
  for (let at = 0; at < pixels.length; at += 4) {
    pixels[at] = pixels[at + 1] = pixels[at + 2] = luma(pixels[at], pixels[at + 1], pixels[at + 2]);
  }
}

const limited = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);

function across(pixels, offset, { shift, count, first, start, weights }, out, place) {
  const half = shift ? 1 << (shift - 1) : 0;
  for (let k = 0; k < count; k++) {
    let red = half, green = half, blue = half, at = offset + first[k] * 4;
    for (let j = start[k]; j < start[k + 1]; j++, at += 4) {
      const weight = weights[j];
      red += weight * pixels[at];
      green += weight * pixels[at + 1];
      blue += weight * pixels[at + 2];
    }
    out[place++] = limited(red >> shift);
    out[place++] = limited(green >> shift);
    out[place++] = limited(blue >> shift);
  }
}

function down(narrow, top, width, { shift, first, start, weights }, k, out, place) {
  const half = shift ? 1 << (shift - 1) : 0, begin = (first[k] - top) * width;
  for (let column = 0; column < width; column++) {
    let sum = half, at = begin + column;
    for (let j = start[k]; j < start[k + 1]; j++, at += width) sum += weights[j] * narrow[at];
    out[place + column] = limited(sum >> shift);
  }
}
