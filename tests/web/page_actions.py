"""What tests do with the page."""

import base64

from linnaeus.targets.web.page import Runtime

NO_RUNTIME = Runtime("none", {"plain": ('var ModuleFactory = () => { throw new Error("no runtime"); };', b"")})


def sent(path):
    return base64.b64encode(path.read_bytes()).decode()


def classified(page, path):
    """Ask the page's model of a file: what it says, with the pixels that the network saw."""
    return page.evaluate(
        """async (text) => {
            const blob = new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]);
            const found = await linnaeus.classify(blob);
            return {...found, pixels: Array.from(await linnaeus.prepared(blob))};
        }""",
        sent(path),
    )


def give(page, *paths):
    """Choose files with the button, and wait for their rows."""
    before = page.locator("#rows tr").count()
    page.set_input_files("#files", [str(path) for path in paths])
    page.locator("#rows tr").nth(before + len(paths) - 1).wait_for()


def drop(page, event, *paths):
    """Drop or paste files on the page."""
    page.evaluate(
        """([event, files]) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            }
            const made = event === "paste" ? new ClipboardEvent(event, {clipboardData: transfer})
                : new DragEvent(event, {dataTransfer: transfer, bubbles: true, cancelable: true});
            document.querySelector("#drop").dispatchEvent(made);
            dispatchEvent(made);
        }""",
        [event, [[path.name, sent(path)] for path in paths]],
    )
