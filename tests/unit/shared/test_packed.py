"""Messages as bytes: whole, whatever is in them, and as earlier versions wrote them."""

from hypothesis import given
from hypothesis import strategies as st

from pawl_shared.buses.port import Message
from pawl_shared.packed import pack, unpack

MESSAGES = st.builds(
    Message,
    st.text(),
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(), st.binary())).map(tuple),
)


@given(MESSAGES)
def test_what_is_packed_comes_back(message: Message) -> None:
    assert unpack(pack(message)) == message


def test_what_earlier_versions_left_in_a_journal() -> None:
    packed = b'{"topic":"t","key":"aw==","headers":[["h","dg=="]]}\nline\nline'
    assert unpack(packed) == Message("t", b"k", b"line\nline", (("h", b"v"),))
    assert pack(unpack(packed)) == packed
