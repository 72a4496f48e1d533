"""Panel 3, instantiation: from judgements to training examples, in table operations that call nobody."""
