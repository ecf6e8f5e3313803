"""`berth sign-images`."""

from pathlib import Path

import click

from berth.cli.options import json_option, say, show, stack_option
from berth.cli.signing_key import KEY_HELP, load_key
from berth.project import find_project


@click.command("sign-images")
@click.argument("model", required=False)
@stack_option
@click.option(
    "--key", required=True, type=click.Path(dir_okay=False, path_type=Path), help=KEY_HELP
)
@json_option
def sign_images(model: str | None, name: str, key: Path, as_json: bool) -> None:
    """Sign the images of a stack, in their registry.

    If the stack requires signatures, images of own containers are signed too, also before the
    first update. MODEL limits the command to the images of one model. 'cosign verify --key'
    accepts the signatures, and 'berth promote' copies them together with the images.
    """
    root = find_project()
    private = load_key(key)
    from berth.cli.stacks import load_spec, read_recorded_state
    from berth.errors import OperationError
    from berth.operations import sign_images as operation
    from berth.platforms.stack_context import StackContext
    from berth.spec.signatures import requires_signatures

    context = StackContext(root=root, stack=name, spec=load_spec(root, name))
    try:
        outputs = read_recorded_state(root, name).outputs
    except OperationError:
        # The stack can require signatures before its first update.
        if not requires_signatures(context.spec):
            raise
        outputs = {}
    signed = []
    for image in operation.sign_images(
        operation.list_images_to_sign(context, outputs, model), private
    ):
        action = "Signed" if image.changed else "Signed already:"
        say(f"{action} {image.reference}")
        signed.append(
            {
                "model": image.model,
                "version": image.version,
                "image": image.reference,
                "changed": image.changed,
            }
        )
    document = {"key": private.public.fingerprint, "images": signed}
    show(document, as_json, lambda: f"{len(signed)} images are signed by {private.public.name}")
