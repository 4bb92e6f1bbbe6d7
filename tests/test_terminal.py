from linnaeus.terminal import talking


def test_talk_goes_to_stderr_only(capsys):
    with talking() as talk:
        talk.say("a [word] of advice")
        talk.progress("reading", 3, 10)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip() == "a [word] of advice", "no bars where there is no terminal, and brackets stay"
