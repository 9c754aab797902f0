//! Operators of our own in tract's graphs: of one input and one output, both dense `f32`.

/// Makes a type with the fields `input_shape` and `output_shape` and a method
/// `compute(&self, input: &[f32], output: &mut [f32])` an operator of its own name. The output is
/// zero before it is computed.
macro_rules! plain_operator {
    ($operator:ident) => {
        impl Op for $operator {
            fn name(&self) -> StaticName {
                stringify!($operator).into()
            }

            fn validation(&self) -> Validation {
                Validation::Rounding
            }

            op_as_typed_op!();
        }

        impl EvalOp for $operator {
            op_out_of_plan!();

            fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
                let input = args_1!(inputs);
                ensure!(input.shape() == &self.input_shape[..]);
                let mut output = Tensor::zero::<f32>(&self.output_shape)?;
                self.compute(
                    input.try_as_plain_ram()?.as_slice::<f32>()?,
                    output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?,
                );
                Ok(tvec!(output.into_tvalue()))
            }
        }

        impl TypedOp for $operator {
            fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
                ensure!(
                    inputs.len() == 1 && inputs[0].shape.as_concrete() == Some(&self.input_shape)
                );
                Ok(tvec!(f32::fact(&self.output_shape)))
            }

            as_op!();
        }
    };
}

pub(super) use plain_operator;
