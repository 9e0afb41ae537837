"""Photographs of tests, and restoring them."""

import io
import struct
import zlib

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image, ImageCms

import constyle_arch
from constyle_arch import cli
from constyle_arch.images import to_float


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header tells any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def restore_command(*arguments):
    return cli.main(["restore", "--device", "cpu", *map(str, arguments)])


def restore_files(source, output, weights, *flags):
    return restore_command("-i", source, "-o", output, "--weights", weights, *flags)


def directly_restored(pixels, weights):
    """By the network's own call, without anything of what is tested."""
    network = constyle_arch.load_network(weights)
    colors = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    with torch.no_grad():
        result = (
            network(torch.from_numpy(to_float(colors)).permute(2, 0, 1)[None])[0]
            .permute(1, 2, 0)
            .numpy()
        )
    result = result.mean(axis=2) if pixels.ndim == 2 else result
    most = np.iinfo(pixels.dtype).max
    return np.round(np.clip(result, 0, 1) * most).astype(pixels.dtype)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAMERA = 0x010F


def picture(height=37, width=52, channels=3, bits=8):
    """Soft colours, which JPEG and WebP hardly change."""
    rng = np.random.default_rng(0)
    coarse = rng.random((4, 5, channels)).astype(np.float32)
    fine = np.atleast_3d(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    most, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    return np.round(fine * most).astype(dtype)


def exif(orientation):
    data = Image.Exif()
    data[0x0112], data[CAMERA] = orientation, "Some Camera"
    return data


def broken_files():
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(
        png, "PNG"
    )
    jpeg = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(
        jpeg, "JPEG"
    )
    many = io.BytesIO()
    one = Image.fromarray(picture())
    one.save(many, "TIFF", save_all=True, append_images=[one])
    real = io.BytesIO()
    tifffile.imwrite(real, np.zeros((8, 8), np.float32))
    return {
        "cut.png": (png.getvalue()[:5000], "cannot be read"),
        "cut.jpg": (jpeg.getvalue()[:2000], "truncated"),
        "empty.png": (b"", "it is no image"),
        "text.jpg": (b"these are words", "it is no image"),
        "pages.tif": (many.getvalue(), "holds 2 pictures"),
        "real.tif": (real.getvalue(), "holds float32 values"),
    }
