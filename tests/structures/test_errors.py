from hmralign.structures import HmralignError, InputError


def test_wrong_input_is_caught_as_ours_and_as_a_wrong_value():
    assert issubclass(InputError, HmralignError) and issubclass(InputError, ValueError)
    assert str(InputError("photo.jpg: no such file")) == "photo.jpg: no such file"
