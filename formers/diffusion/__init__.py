"""Pictures out of noise: the schedule, the times, one step of each sampler, guidance, and the one loop over them."""
