# Everything runs in .venv, made on first use. PYTHON=python3.12 make ... chooses another interpreter.
PYTHON ?= python3
RUN := .venv/bin/python
DEMO := demo

.PHONY: demo test test-long lint clean

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "Python 3.11 or newer is needed; give one with PYTHON=python3.11 make ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --requirement requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	.venv/bin/pip install --quiet --requirement requirements-dev.txt
	@touch $@

demo: .venv/installed
	$(RUN) create.py --preset clean --num_freqs 18 --num_amps 8 --file_path $(DEMO)/tones.npz
	$(RUN) trainvae.py --dataset $(DEMO)/tones.npz --features gainshape --epochs 60 --output_dir $(DEMO)/checkpoints --device cpu --resume
	$(RUN) eval.py --model $(DEMO)/checkpoints/*_seed0.pt --output_dir $(DEMO)/results --device cpu
	@echo
	@echo "open first:  $(DEMO)/results/report.html (scores, figures and sounds in one page, for a browser)"
	@echo "a picture:   $(DEMO)/results/Figures/BTCVAE_Controllability.png (what each latent changes)"
	@echo "a sound:     the first traversal of BTCVAE on the page, or $(DEMO)/results/audio/BTCVAE/traversal_z*.wav"
	@echo "more:        $(DEMO)/results/table.md, metrics.csv, Figures/, audio/; training curves in $(DEMO)/checkpoints/"

# Two processes of one thread each: the tests' tensors are tiny, and threads that wait for each other on a busy machine take
# minutes.
test test-long: export OMP_NUM_THREADS = 1
test: .venv/installed-dev
	$(RUN) -m pytest -q -n 2 --dist loadfile -m "not long" tests

test-long: .venv/installed-dev
	$(RUN) -m pytest -q -n 2 --dist loadfile -m long tests

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf $(DEMO) .pytest_cache .ruff_cache
