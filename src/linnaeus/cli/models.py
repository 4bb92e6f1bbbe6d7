"""linnaeus models."""

from __future__ import annotations

from cyclopts import App

from linnaeus.cli.app import Json, app, print_json
from linnaeus.errors import SettingsError

models = App(name="models", help="Networks: list them, or show one layer by layer.")
app.command(models)


@models.command(name="list")
def list_models(pattern: str = "*", /, *, json_: Json = False) -> None:
    """List networks by name.

    Example: linnaeus models list resnet
    """
    from linnaeus.verbs.models import list_models as names_of

    names = names_of(pattern)
    if not names:
        raise SettingsError(f"no network's name matches {pattern!r}.", fix="linnaeus models list")
    print_json(names) if json_ else print("\n".join(names))


@models.command(name="show")
def show_model(name: str, /, *, classes: int | None = None, size_px: int | None = None, json_: Json = False) -> None:
    """Show a network layer by layer, with output shapes and parameters.

    Example: linnaeus models show keras-cifar10

    Parameters
    ----------
    name
        As for train --model.
    classes
        Number of classes; by default what the network was made for.
    size_px
        Height and width of the pictures; by default what the network was made for.
    """
    from dataclasses import asdict

    from linnaeus.verbs.models import show

    sheet = show(name, classes=classes, size_px=size_px)
    if json_:
        print_json(asdict(sheet))
        return
    wide = max(len(row.name) for row in sheet.layers)
    kind = max(len(row.type) for row in sheet.layers)
    print(f"{'layer':{wide}}  {'type':{kind}}  {'output shape':>18}  {'parameters':>12}")
    for row in sheet.layers:
        shape = " x ".join(map(str, row.output_shape)) or "-"
        print(f"{row.name:{wide}}  {row.type:{kind}}  {shape:>18}  {row.parameters:>12,}")
    counts = sheet.parameters
    print(
        f"\ninput {' x '.join(map(str, sheet.input_size))}; {counts.total:,} parameters, {counts.trainable:,} of them trained"
    )
