"""The facts that a method keeps, in the order in which they are looked at."""

from bench.conformance import method_losses as losses
from bench.conformance import method_training as training
from bench.conformance.finding import Check

GATES: tuple[Check, ...] = (
    losses.builds_on_a_teacher,
    losses.requires_the_data_that_its_losses_read,
    losses.losses_are_one_value_for_each_image,
    losses.logs_are_single_numbers,
    training.trains,
)
"""Without these the others could only fail for the same reason."""
CHECKS: tuple[Check, ...] = (
    losses.images_are_of_the_noises_shape_and_range,
    losses.nfe_is_the_number_of_evaluations,
    losses.passes_are_those_of_the_card,
    losses.generator_sees_its_labels,
    losses.losses_see_their_labels,
    training.teacher_is_never_changed,
    losses.gradients_reach_the_steps_own_networks_and_no_others,
    losses.losses_do_not_depend_on_the_order_of_the_batch,
    losses.losses_are_finite_at_extreme_noise,
    losses.losses_are_finite_in_fp16,
    training.same_seed_gives_the_same_weights,
    training.continuing_is_the_same_as_never_stopping,
    training.parts_of_a_batch_agree_with_the_whole,
    training.improves_on_its_beginning,
)
"""Looked at in one process."""
SLOW: tuple[Check, ...] = (training.two_processes_agree_with_one,)
"""Looked at by others, which take seconds to start."""
