# Every target makes .venv itself; PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test check bench bench-post drills clean

demo: $(STAMP)
	$(BIN)/vgen demo --output demo-out

test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not gpu and not slow" $(TESTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.enhance
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.deinterlace
	$(BIN)/python -m benchmarks.post_cost

# Against ffmpeg's filters; they need VGEN_REAL_CLIPS.
bench-post: $(STAMP)
	for part in color stabilize deflicker denoise; do \
		$(BIN)/python -m benchmarks.post_$$part || exit 1; \
	done

drills: $(STAMP)
	$(BIN)/python -m pytest -q -m "not gpu" tests/drills

clean:
	rm -rf .venv demo-out build *.egg-info

# constraints.txt pins torch, so that the CPU build is taken where it is offered.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]' -c constraints.txt
	touch $(STAMP)
