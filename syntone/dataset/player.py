"""FluidSynth, which plays single notes of a soundfont.

FluidSynth has no filter against aliasing where it transposes samples. Notes are therefore rendered at 48 kHz and
decimated. A new synthesizer plays every note, because a used one keeps sounds and gains of the note before.
"""

import ctypes
import math
from pathlib import Path

import numpy as np

from syntone.errors import InputError

# The programs of General MIDI, in their order.
PROGRAMS = """
    acoustic_grand_piano bright_acoustic_piano electric_grand_piano honky_tonk_piano electric_piano_1 electric_piano_2
    harpsichord clavinet celesta glockenspiel music_box vibraphone marimba xylophone tubular_bells dulcimer
    drawbar_organ percussive_organ rock_organ church_organ reed_organ accordion harmonica tango_accordion
    nylon_guitar steel_guitar jazz_guitar clean_guitar muted_guitar overdriven_guitar distortion_guitar
    guitar_harmonics acoustic_bass finger_bass pick_bass fretless_bass slap_bass_1 slap_bass_2 synth_bass_1
    synth_bass_2 violin viola cello contrabass tremolo_strings pizzicato_strings harp timpani string_ensemble_1
    string_ensemble_2 synth_strings_1 synth_strings_2 choir_aahs voice_oohs synth_voice orchestra_hit trumpet trombone
    tuba muted_trumpet french_horn brass_section synth_brass_1 synth_brass_2 soprano_sax alto_sax tenor_sax
    baritone_sax oboe english_horn bassoon clarinet piccolo flute recorder pan_flute blown_bottle shakuhachi whistle
    ocarina square_lead sawtooth_lead calliope_lead chiff_lead charang_lead voice_lead fifths_lead bass_lead
    new_age_pad warm_pad polysynth_pad choir_pad bowed_pad metallic_pad halo_pad sweep_pad rain soundtrack crystal
    atmosphere brightness goblins echoes sci_fi sitar banjo shamisen koto kalimba bagpipe fiddle shanai tinkle_bell
    agogo steel_drums woodblock taiko_drum melodic_tom synth_drum reverse_cymbal guitar_fret_noise breath_noise
    seashore bird_tweet telephone_ring helicopter applause gunshot
""".split()
INSTALL = "apt install fluidsynth fluid-soundfont-gm; pip install -r requirements-sounds.txt"
RENDER_RATE = 48000  # Hz
BLOCK = 64  # samples that FluidSynth computes at once; events take effect between blocks
HELD = 0.8  # share of the duration until the key is released, so that a note has onset, sustain and release
GAIN = 1.5  # the default notes then have peaks up to 0.8
SETTINGS = {"synth.reverb.active": 0, "synth.chorus.active": 0, "synth.cpu-cores": 1, "synth.polyphony": 32}
INTERPOLATION = 7  # FluidSynth's highest order
SILENT = 1e-4  # peak below which a note counts as silent


class Player:
    """FluidSynth with one soundfont, which stays in memory between the synthesizers of single notes."""

    def __init__(self, path: Path) -> None:
        self.module, self.path = load_fluidsynth(), path
        self.library = self.module._fl
        pointer, whole = ctypes.c_void_p, ctypes.c_int
        for name, result, *arguments in (  # functions that pyfluidsynth does not declare
            ("get_sfont_by_id", pointer, pointer, whole),
            ("add_sfont", whole, pointer, pointer),
            ("remove_sfont", whole, pointer, pointer),
            ("set_interp_method", whole, pointer, whole, whole),
            # In floating point: 16-bit output is dithered, which depends on the notes before.
            ("write_float", whole, pointer, whole, pointer, whole, whole, pointer, whole, whole),
        ):
            function = getattr(self.library, f"fluid_synth_{name}")
            function.restype, function.argtypes = result, arguments
        for level in range(5):
            self.library.fluid_set_log_function(level, None, None)  # return values are checked instead
        self.owner = self.module.Synth()
        number = self.owner.sfload(str(path))
        if number < 0:
            raise InputError(f"soundfont: {path} cannot be read as a soundfont; give an .sf2 file")
        self.font = self.library.fluid_synth_get_sfont_by_id(self.owner.synth, number)
        self.library.fluid_synth_remove_sfont(self.owner.synth, self.font)

    def play(self, instrument: str, velocity: int, pitch: int, *, sample_rate: int, n_samples: int) -> np.ndarray:
        """Return a note as float32 (n_samples,): the mean of both channels, at `sample_rate` in Hz."""
        from scipy.signal import resample_poly

        duration = n_samples / sample_rate
        n_blocks = math.ceil(duration * RENDER_RATE / BLOCK)
        stereo = np.zeros((2, n_blocks * BLOCK), np.float32)
        released = round(HELD * duration * RENDER_RATE / BLOCK) * BLOCK
        synth = self.module.Synth(gain=GAIN, samplerate=RENDER_RATE, channels=16, **SETTINGS)
        number = self.library.fluid_synth_add_sfont(synth.synth, self.font)
        try:
            self.library.fluid_synth_set_interp_method(synth.synth, -1, INTERPOLATION)
            if synth.program_select(0, number, 0, PROGRAMS.index(instrument)):
                raise InputError(f"instruments: {self.path} has no {instrument}; leave it out")
            synth.noteon(0, pitch, velocity)
            for start, end in ((0, released), (released, stereo.shape[1])):
                left, right = (channel[start:].ctypes.data for channel in stereo)
                self.library.fluid_synth_write_float(synth.synth, end - start, left, 0, 1, right, 0, 1)
                synth.noteoff(0, pitch)
        finally:
            self.library.fluid_synth_remove_sfont(synth.synth, self.font)
            synth.delete()
        if np.abs(stereo).max() < SILENT:
            found = f"{instrument} of {self.path.name} is silent at pitch {pitch}, velocity {velocity}"
            raise InputError(f"pitches: {found}; choose a narrower range, or leave the instrument out")
        common = math.gcd(sample_rate, RENDER_RATE)
        wave = resample_poly(stereo.mean(axis=0), sample_rate // common, RENDER_RATE // common, window=("kaiser", 8.6))
        return np.pad(wave, (0, max(0, n_samples - len(wave))))[:n_samples].astype(np.float32)


def load_fluidsynth():
    """Import pyfluidsynth, which is optional and loads the FluidSynth library."""
    try:
        import fluidsynth
    except (ImportError, OSError, AttributeError) as fault:  # no package; no library; a library without a function
        raise InputError(f"notes need FluidSynth and pyfluidsynth ({str(fault)[:80]}); {INSTALL}") from None
    return fluidsynth


def fluidsynth_version(library: ctypes.CDLL) -> str:
    library.fluid_version_str.restype = ctypes.c_char_p
    return library.fluid_version_str().decode()
