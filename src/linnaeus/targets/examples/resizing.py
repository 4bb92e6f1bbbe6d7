"""How a picture is brought to the network's size, in each language of the examples."""

from __future__ import annotations

from linnaeus.records import Preprocessing

PILLOW = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST"}
MAGICK = {"bilinear": "Triangle", "bicubic": "Catrom", "nearest": "Point"}
SHARP = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}

Lines = tuple[str, ...]


def python(how: Preprocessing) -> Lines:
    """Write it with Pillow, whose filters are those of the training."""
    size, short, resampling = how.size_px, how.resize_px, f"Image.Resampling.{PILLOW[how.interpolation]}"
    if how.resize == "squash":
        return (f"picture = picture.resize(({size}, {size}), {resampling})",)
    if how.resize == "pad":
        return (
            f"scale = {size} / max(picture.size)",
            f"small = picture.resize([max(1, round(side * scale)) for side in picture.size], {resampling})",
            f'picture = Image.new("RGB", ({size}, {size}), {how.background})',
            f"picture.paste(small, (({size} - small.width) // 2, ({size} - small.height) // 2))",
        )
    return (
        f"scale = {short} / min(picture.size)",
        f"picture = picture.resize([max({short}, int(side * scale)) for side in picture.size], {resampling})",
        f"left, top = (round((side - {size}) / 2) for side in picture.size)",
        f"picture = picture.crop((left, top, left + {size}, top + {size}))",
    )


def magick(how: Preprocessing) -> str:
    """Write the options of ImageMagick."""
    flat = f"-auto-orient -background '{_css(how)}' -alpha remove -depth 8"
    size, options = how.size_px, f"{flat} -filter {MAGICK[how.interpolation]}"
    middle = f"-gravity center -extent {size}x{size}"
    if how.resize == "squash":
        return f"{options} -resize '{size}x{size}!'"
    if how.resize == "pad":
        return f"{options} -resize {size}x{size} {middle}"
    return f"{options} -resize '{how.resize_px}x{how.resize_px}^' {middle}"


def node(how: Preprocessing) -> Lines:
    """Write it with sharp."""
    size, short, kernel, colour = how.size_px, how.resize_px, SHARP[how.interpolation], _object(how)
    upright = f"sharp(process.argv[2]).rotate().flatten({{ background: {colour} }}).toColourspace('srgb')"
    if how.resize != "crop":
        fit = {"squash": '"fill"', "pad": f'"contain", background: {colour}'}[how.resize]
        return (
            f"const pixels = await {upright}",
            f'  .resize({size}, {size}, {{ fit: {fit}, kernel: "{kernel}" }}).raw().toBuffer();',
        )
    return (
        f"const small = await {upright}",
        f'  .resize({short}, {short}, {{ fit: "outside", kernel: "{kernel}" }}).raw().toBuffer({{ resolveWithObject: true }});',
        f"const [left, top] = [small.info.width, small.info.height].map((side) => Math.floor((side - {size}) / 2));",
        "const pixels = await sharp(small.data, { raw: small.info })",
        f"  .extract({{ left, top, width: {size}, height: {size} }}).raw().toBuffer();",
    )


def browser(how: Preprocessing) -> Lines:
    """Write it with a canvas."""
    size = how.size_px
    return (
        f'pen.fillStyle = "{_css(how)}";',
        f"pen.fillRect(0, 0, {size}, {size});",
        *(f"const {line};" for line in _scaled(how, "picture.width", "picture.height", "Math.min", "Math.max")),
        f"pen.drawImage(picture, ({size} - width) / 2, ({size} - height) / 2, width, height);",
    )


def swift(how: Preprocessing) -> Lines:
    """Write it with Core Graphics."""
    size = how.size_px
    red, green, blue = (f"{part / 255:g}" for part in how.background)
    wide, high = "Double(picture.width)", "Double(picture.height)"
    return (
        "let canvas = CGContext(",
        f"    data: nil, width: {size}, height: {size}, bitsPerComponent: 8, bytesPerRow: 4 * {size},",
        "    space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!",
        "canvas.interpolationQuality = .high",
        f"canvas.setFillColor(red: {red}, green: {green}, blue: {blue}, alpha: 1)",
        f"canvas.fill(CGRect(x: 0, y: 0, width: {size}, height: {size}))",
        *(f"let {line}" for line in _scaled(how, wide, high, "min", "max")),
        f"canvas.draw(picture, in: CGRect(x: ({size} - width) / 2, y: ({size} - height) / 2, width: width, height: height))",
    )


def kotlin(how: Preprocessing) -> Lines:
    """Write it with Android's canvas."""
    size = how.size_px
    red, green, blue = how.background
    return (
        f"val small = Bitmap.createBitmap({size}, {size}, Bitmap.Config.ARGB_8888)",
        f"small.eraseColor(Color.rgb({red}, {green}, {blue}))",
        *(f"val {line}" for line in _scaled(how, "picture.width", "picture.height", "min", "max", "f")),
        f"val place = RectF(({size} - width) / 2, ({size} - height) / 2, ({size} + width) / 2, ({size} + height) / 2)",
        "// The filter looks at four pixels: halved until that suffices, no pixel of the photo is left out.",
        "var halved = picture",
        "while (halved.width > 2 * width || halved.height > 2 * height) {",
        "    val wide = if (halved.width > 2 * width) halved.width / 2 else halved.width",
        "    val high = if (halved.height > 2 * height) halved.height / 2 else halved.height",
        "    halved = Bitmap.createScaledBitmap(halved, wide, high, true)",
        "}",
        "Canvas(small).drawBitmap(halved, null, place, Paint(Paint.FILTER_BITMAP_FLAG))",
    )


def _scaled(how: Preprocessing, wide: str, high: str, least: str, most: str, number: str = "") -> Lines:
    """Say how large the whole picture becomes; what is beyond the square's borders falls away."""
    size = how.size_px
    if how.resize == "squash":
        return (f"width = {size}.0{number}", f"height = {size}.0{number}")
    side, function = (how.resize_px, least) if how.resize == "crop" else (size, most)
    return (
        f"scale = {side}.0{number} / {function}({wide}, {high})",
        f"width = {wide} * scale",
        f"height = {high} * scale",
    )


def _css(how: Preprocessing) -> str:
    return "rgb({},{},{})".format(*how.background)


def _object(how: Preprocessing) -> str:
    return "{{ r: {}, g: {}, b: {} }}".format(*how.background)
