"""The commands of `basicsr`: each module adds one to the parser (`add_to`) and runs it (`run`)."""
