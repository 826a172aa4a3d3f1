// Slots: what the rows of a tile count for in the rounds over columns.
#pragma once

#include "dialect.cuh"
#include "extension.cuh"

// Runs of a tile, each of which a slot has an element for.
#define RUNS 16
